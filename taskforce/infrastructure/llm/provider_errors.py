"""Errors of providers in their various shapes, and answers of servers that are no API at all."""

import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from taskforce.core.domain.json_limits import values_in
from taskforce.infrastructure.llm.call_deltas import get

MOST_VALUES = 200_000
"""Of one document, which is parsed in one go: more would hold up the event loop; no reply has as many."""

MOST_TEXTS = 20_000
"""Of one document with that many marks of values; see `is_bounded`."""

MOST_QUOTED = 4_000
"""Characters of what a server said in which secrets are looked for; what is shown is cut after that."""

_SHOWN_TEXT = 80
_SHOWN_URL = 200
_DECODER = json.JSONDecoder(strict=False)
_SERVER_FAILED = 500
_HTTP_ERRORS = range(400, 600)
_TITLE = re.compile(r"(?is)<title[^>]{0,200}>(.{1,200}?)</title>")
_RATE = frozenset({"rate_limit_exceeded", "rate_limit_error", "rate_limit_reached_error", "too_many_requests"})
_SERVER = frozenset(
    {
        "api_error",
        "engine_overloaded_error",
        "internal_error",
        "internal_server_error",
        "overloaded_error",
        "server_error",
        "service_unavailable",
        "timeout",
    }
)


class ProviderError(Exception):
    """Reports that a provider failed or refuses, by its status or in the body.

    Attributes:
        status_code: The HTTP status, or the one that the error means where it came with another.
        body: The error object; empty where there is none.
        headers: Response headers.
        message: What the provider said.
    """

    def __init__(self, status_code: int, body: Mapping[str, object], headers: Mapping[str, str], message: str) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body = body
        self.headers = headers
        self.message = message


class Quoted(NamedTuple):
    """Holds what a server said, whole: what is cut before secrets are removed leaves halves of them.

    Attributes:
        text: The text.
        most: Characters that are shown.
    """

    text: str
    most: int

    def shown(self, hide: Callable[[str], str]) -> str:
        """Returns the beginning, without secrets.

        Args:
            hide: Removes them.
        """
        return hide(" ".join(self.text.split())[:MOST_QUOTED])[: self.most]


class NotAnApiError(Exception):
    """Reports that what answered, or would have to, is no chat completions API.

    Args:
        seen: What was seen instead, for a person, with `{}` or `{!r}` for each quotation.
        quoted: What is quoted.
    """

    def __init__(self, seen: str, *quoted: Quoted) -> None:
        super().__init__(seen)
        self._seen = seen
        self._quoted = quoted

    def seen(self, hide: Callable[[str], str]) -> str:
        """Returns what was seen instead, for a person.

        Args:
            hide: Removes secrets.
        """
        return self._seen.format(*(one.shown(hide) for one in self._quoted))


class ReplyTooLongError(Exception):
    """Reports a reply in one document that is longer than any that is read; asked again, it will be as long.

    Attributes:
        most: Bytes that are read.
    """

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class StreamBrokenError(Exception):
    """Reports a stream that ended before the reply was complete."""


def require_address(url: str) -> None:
    """Requires a URL with scheme and host.

    Args:
        url: The URL.

    Raises:
        NotAnApiError: It has no scheme or no host.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or not url.isprintable() or " " in url:
        raise NotAnApiError("{!r} is no URL: it begins with http:// or https://", shown_url(url))


def error_in(document: object, *, anything: bool = False) -> Mapping[str, object] | None:
    """Returns the error object of a document, in the shapes that servers use.

    Args:
        document: The document.
        anything: Whether one that only says something, and holds no reply, is an error too.
    """
    # Google's endpoint wraps an error in a list.
    if isinstance(document, list) and len(document) == 1:
        return error_in(document[0], anything=anything)
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if error:
        return error if isinstance(error, dict) else {**document, "message": error}
    says = document.get("message") or document.get("detail") or document.get("msg")
    is_error = document.get("object") == "error" or (anything and says)
    return document if is_error and not document.get("choices") else None


def is_of_api(document: object) -> bool:
    """Returns whether a refusal comes from an API, and not from the web server before it, which knows no such path."""
    if isinstance(document, list) and document:
        return is_of_api(document[0])
    # Web frameworks (Spring's, for one) name in their own 404 the path that they do not know.
    if not isinstance(document, dict) or "path" in document:
        return False
    return any(document.get(name) for name in ("type", "code", "error"))


def status_of(error: Mapping[str, object], meant: int) -> int:
    """Returns the HTTP status that an error means, whatever status it came with.

    Args:
        error: The error object.
        meant: The status of one that does not say.

    Returns:
        400 to 599.
    """
    for name in ("code", "status", "status_code", "http_code"):
        value = error.get(name)
        number = int(value) if isinstance(value, int | str) and str(value).isdecimal() else 0
        if number in _HTTP_ERRORS:
            return number
    words = {str(error.get(name)).lower() for name in ("code", "type", "status")}
    if words & _RATE:
        return 429
    return _SERVER_FAILED if words & _SERVER else meant


def message_of(error: Mapping[str, object]) -> str:
    """Returns the message of an error."""
    says = error.get("message") or error.get("detail") or error.get("msg") or error
    return says if isinstance(says, str) else json.dumps(says, ensure_ascii=False)


def is_bounded(text: bytes) -> bool:
    """Returns whether unparsed JSON has so few values that parsing it does not hold up the event loop."""
    marks = text.count(b",") + text.count(b"[") + text.count(b"{")
    if marks < MOST_VALUES:
        return True
    # Most of the marks may stand within words. To tell them apart takes longer than parsing where there are many texts.
    texts = (text.count(b'"') - text.count(b'\\"')) // 2
    return texts <= MOST_TEXTS and values_in(text, MOST_VALUES) <= MOST_VALUES


def parsed(text: bytes) -> object:
    """Parses JSON; None where it is none, or has too many values. Control characters within strings are accepted."""
    if not is_bounded(text):
        return None
    try:
        return _DECODER.decode(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def not_an_api(response: httpx.Response, body: bytes) -> NotAnApiError:
    """Returns the error for an answer: it names the media type, and the title of a page or the body's beginning."""
    kind = response.headers.get("content-type", "no type").partition(";")[0]
    text = body.decode("utf-8", "replace")
    title = _TITLE.search(text[:MOST_QUOTED])
    return NotAnApiError(
        "{} answers " + str(response.status_code) + " with {}: {!r}",
        shown_url(str(response.request.url)),
        Quoted(kind, _SHOWN_TEXT),
        Quoted(title.group(1) if title else text, _SHOWN_TEXT),
    )


def shown_url(url: str) -> Quoted:
    """Returns a URL without its query and credentials, which may be secret."""
    bare = re.sub(r"//[^/@\s]*@", "//", url)
    return Quoted(re.split(r"[?#]", bare, maxsplit=1)[0], _SHOWN_URL)


def option_in_detail(body: Mapping[str, object]) -> str | None:
    """Returns the member of the request that a validation error names as data.

    Args:
        body: The error object.

    Returns:
        The member's name, or None.
    """
    param = body.get("param")
    if isinstance(param, str) and param:
        return param
    detail = body.get("detail") or get(body.get("message"), "detail")
    first = detail[0] if isinstance(detail, list) and detail else None
    place = get(first, "loc")
    return str(place[1]) if isinstance(place, list) and len(place) > 1 and place[0] == "body" else None
