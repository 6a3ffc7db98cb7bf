"""Guarded HTTP client, the only one for URLs that a model, a user or a webhook names.

What a model asks for may have been written by an attacker, and this process stands inside the company's network: by
`http://169.254.169.254/` it would hand out the machine's own credentials, by `http://10.0.0.5/` whatever trusts its
neighbours (server-side request forgery). So only public addresses are asked. Checking the URL's name is not enough,
for the name may lead elsewhere a moment later: it is looked up once, every answer is checked, and the connection is
made to the address that was checked, while `Host` and TLS keep the name. Redirects are followed by hand and each is
checked like the first request. Nothing is shared between requests: no cookies, no connections, no credentials of the
environment, no proxy. Replies are bounded in time and size, before and after unpacking.

`allowed_hosts` exempts places (`host:port`) that an operator trusts, for systems inside the company.
"""

import asyncio
import copy
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Self

import httpx

from taskforce.core.domain.redaction import redact
from taskforce.core.domain.webhooks.delivery import Answered
from taskforce.core.interfaces.tools import HttpReply, ToolFailure
from taskforce.infrastructure.net.name_resolution import NameResolution
from taskforce.infrastructure.net.response_body import decoded, read_body
from taskforce.infrastructure.net.url_target import Resolver, Target, addresses_of, place, read_target

MAX_REDIRECTS = 5
MAX_ADDRESSES = 4
DEFAULT_MAX_BYTES = 5 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 20.0
CONNECT_SECONDS = 5.0
MAX_REASON = 300

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
# Other methods are not safe to send to another place unasked (RFC 9110, section 15.4).
_FOLLOWED = frozenset({"GET", "HEAD"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# The client sets these itself: with a `host` of its own a request would leave the checked name, and with
# `content-length` or `transfer-encoding` it could carry a second request inside.
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Only these headers are sent to another origin: whether any other one holds a credential is unknown.
_HARMLESS = frozenset({"accept", "accept-language", "user-agent"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_DEFAULTS = {"accept": "*/*", "user-agent": "pytaskforce"}


class GuardedHttp:
    """Implements `OutboundHttp`, for tools, and `WebhookPost`.

    Args:
        allowed_hosts: Places exempt from the checks of address and port, written `host:port`.
        max_bytes: Limit of a reply's body in bytes, packed and unpacked.
        timeout_seconds: Time for a request in all, redirects included.
        resolve: Looks names up; by default `names` does.
        names: The process's resolution of names; by default one of its own.
        tls: Whom to trust; by default the usual authorities, or those that `SSL_CERT_FILE` names.
        transport: Carries a request to the literal address in its URL.

    Raises:
        ValueError: An allowed host is not written `host:port`.
    """

    def __init__(
        self,
        allowed_hosts: frozenset[str] = frozenset(),
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        resolve: Resolver | None = None,
        names: NameResolution | None = None,
        tls: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._allowed = frozenset(place(host) for host in allowed_hosts)
        self._max_bytes = max_bytes
        self._timeout = timeout_seconds
        self._fixed_resolver = resolve
        self._names = names or NameResolution()
        self._holder = ""
        self._transport = transport or httpx.AsyncHTTPTransport(
            verify=tls or httpx.create_ssl_context(),
            # A proxy of the environment would connect to the name, not to the address that was checked.
            trust_env=False,
            # No keep-alive: connections are per address, and a kept one could serve another name at the same address.
            # Not bounded here: each call has one connection at a time, and calls have shares by tenant (`FairShares`).
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    def of(self, tenant_id: str) -> Self:
        """Returns the same client for the calls of one tenant, which has a share of the lookups."""
        view = copy.copy(self)
        view._holder = tenant_id  # noqa: SLF001 - a copy of this very object
        return view

    async def aclose(self) -> None:
        """Closes open connections."""
        await self._transport.aclose()

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpReply:
        """Sends a request; follows up to five redirects of a GET or HEAD.

        Args:
            method: GET, HEAD, POST, PUT, PATCH or DELETE.
            url: An absolute http or https URL.
            headers: Further headers; when a redirect leads to another origin, only harmless ones go along.
            body: The body's bytes.

        Returns:
            What came back, whatever its status; a redirect that is not followed, too.

        Raises:
            ToolFailure: The address is refused, or the server did not answer in time or in HTTP.
        """
        if method not in _METHODS:
            raise ToolFailure(f"The method must be one of {', '.join(sorted(_METHODS))}.")
        target = read_target(url)
        with _in_words(target, self._timeout):
            async with asyncio.timeout(self._timeout):
                return await self._followed(method, target, _checked_headers(headers or {}), body)

    async def post(
        self, url: str, *, tenant_id: str, headers: Mapping[str, str], body: bytes, seconds: float, most_bytes: int
    ) -> Answered:
        """Sends a body without following redirects, and keeps the beginning of the response; see `WebhookPost`.

        The status alone decides: a body that is broken, or does not end in time, takes nothing from it.
        """
        try:
            target = read_target(url)
            with _in_words(target, seconds):
                end = asyncio.get_running_loop().time() + seconds
                async with asyncio.timeout_at(end):
                    response = await self.of(tenant_id)._answer(  # noqa: SLF001 - a copy of this very object
                        "POST", target, _checked_headers(headers), body
                    )
                excerpt = await _excerpt(response, most_bytes, end)
        except ToolFailure as failure:
            return Answered(None, {}, reason=str(failure))
        return Answered(response.status_code, _lowered(response.headers), excerpt)

    async def _followed(self, method: str, target: Target, headers: Mapping[str, str], body: bytes | None) -> HttpReply:
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._answer(method, target, headers, body)
            try:
                if method not in _FOLLOWED or response.status_code not in _REDIRECTS or not _location(response):
                    return await self._reply(target, response)
            finally:
                await response.aclose()
            following = read_target(_joined(target, _location(response)))
            if following.origin != target.origin:
                headers = {name: value for name, value in headers.items() if name in _HARMLESS}
            target = following
        raise ToolFailure(f"The redirects do not end; the last led to {target.place}.")

    async def _answer(
        self, method: str, target: Target, headers: Mapping[str, str], body: bytes | None
    ) -> httpx.Response:
        resolve = self._fixed_resolver or partial(self._names.addresses, holder=self._holder)
        addresses = await addresses_of(target, self._allowed, resolve)
        reason = ""
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return await self._transport.handle_async_request(_pinned(method, target, address, headers, body))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                # Nothing was sent yet, so the next address may be tried, whatever the method.
                reason = _described(error)
        raise ToolFailure(f"{target.place} cannot be reached: {reason}")

    async def _reply(self, target: Target, response: httpx.Response) -> HttpReply:
        encoding = response.headers.get("content-encoding", "")
        body, truncated = await read_body(response.aiter_raw(), encoding, self._max_bytes)
        return HttpReply(
            status=response.status_code,
            headers=_lowered(response.headers),
            body=decoded(body, response.charset_encoding),
            truncated=truncated,
            url=str(target.url),
        )


@contextmanager
def _in_words(target: Target, seconds: float) -> Iterator[None]:
    """Translates failures to messages for the model."""
    try:
        yield
    except TimeoutError:
        raise ToolFailure(f"{target.place} did not answer within {seconds:g} seconds.") from None
    except httpx.TimeoutException:
        raise ToolFailure(f"{target.place} did not answer in time.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ToolFailure(f"{target.place} did not answer in HTTP: {_described(error)}") from None


async def _excerpt(response: httpx.Response, most_bytes: int, end: float) -> str:
    """Returns the beginning of a body, if it arrives in time."""
    try:
        async with asyncio.timeout_at(end):
            encoding = response.headers.get("content-encoding", "")
            body, _ = await read_body(response.aiter_raw(), encoding, most_bytes)
            return decoded(body, response.charset_encoding)
    except (TimeoutError, httpx.HTTPError, ToolFailure):
        return ""
    finally:
        await response.aclose()


def _lowered(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _pinned(method: str, target: Target, address: str, headers: Mapping[str, str], body: bytes | None) -> httpx.Request:
    """Builds a request to the address that was checked, in the name of the target."""
    name = target.url.netloc.decode("ascii")
    # Only the connection has a limit here, so that the next address gets its turn; callers bound the whole.
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS).as_dict()
    return httpx.Request(
        method,
        target.url.copy_with(host=address),
        # Only gzip, which `read_body` unpacks within its limit; httpx's own decoders know no limit.
        headers={"host": name, "accept-encoding": "gzip", **_DEFAULTS, **headers},
        content=body,
        extensions={"timeout": timeout, "sni_hostname": target.host},
    )


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    lowered = {name.lower(): value for name, value in headers.items()}
    if taken := sorted(name for name in lowered if name in _OURS or name.startswith("proxy-")):
        raise ToolFailure(f"The header {taken[0]} cannot be set.")
    if not all(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value) for name, value in lowered.items()):
        raise ToolFailure("A header has characters that headers cannot have.")
    return lowered


def _location(response: httpx.Response) -> str:
    location: str = response.headers.get("location", "")
    return location.strip()


def _joined(target: Target, location: str) -> str:
    try:
        return str(target.url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise ToolFailure(f"{target.place} redirects to something that is not a valid URL.") from error


def _described(error: Exception) -> str:
    return redact(f"{type(error).__name__} {error}".strip()[:MAX_REASON])
