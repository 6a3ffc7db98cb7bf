"""Options that a model refuses: optional ones are left out or renamed, and the call is made again.

Which option a refusal is about, servers tell as data (`param`, `loc`) or in their text alone. The text decides nothing
but that: whether the same question is put once more without an option that may be missing.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from taskforce.infrastructure.llm.call_deltas import get
from taskforce.infrastructure.llm.provider_errors import option_in_detail
from taskforce.infrastructure.llm.reply_stream import REASONING_FIELDS

REASONING_REQUIRED = "reasoning required"
"""Marks, among the refused options, a model that refuses messages without their reasoning."""
UNSTREAMED = "unstreamed"
"""Marks, among the refused options, a model whose replies came whole although a stream was asked for."""
REMEMBERED_SECONDS = 3_600.0
MOST_REMEMBERED = 512
MOST_ASKED = 5
"""Requests in all, after which the refusal is not taken to be about options."""

_OPTIONS = ("stream_options", "temperature", "max_completion_tokens", "max_tokens")
_RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_STATUS = (400, 422)
_LONGEST_TEXT = 4_000
_QUOTED = {name: re.compile(rf"[`'\"]{name}[`'\"]") for name in ("stream", "reasoning")}
_NAMED = {name: re.compile(rf"(?<![\w]){name}\b") for name in (*_OPTIONS, "reasoning_content")}

Body = dict[str, object]


class RefusedOptions:
    """Caches for a time what each model refuses, so that not every call fails first.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, frozenset[str]]] = OrderedDict()

    def of(self, model: str) -> frozenset[str]:
        """Returns the options that a model is known to refuse."""
        until, options = self._known.get(model, (0.0, frozenset()))
        return options if self._clock() < until else frozenset()

    def streams(self, model: str) -> bool:
        """Returns whether a model's replies come in pieces, as far as is known."""
        return not self.of(model) & {"stream", UNSTREAMED}

    def add(self, model: str, option: str) -> None:
        """Adds an option."""
        self._known[model] = (self._clock() + REMEMBERED_SECONDS, self.of(model) | {option})
        self._known.move_to_end(model)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)


def refused_option(error: BaseException, body: Mapping[str, object]) -> str | None:
    """Finds the option of a request that a refusal is about.

    Args:
        error: The refusal, with `status_code`, and `body` and `message` where it has them.
        body: The request: its members, and its messages.

    Returns:
        The option, or None where it is about something else.
    """
    if get(error, "status_code") not in _STATUS:
        return None
    details, text = get(error, "body"), str(get(error, "message") or error)[:_LONGEST_TEXT]
    named = option_in_detail(details) if isinstance(details, Mapping) else None
    if named in (*_OPTIONS, "stream"):
        return named if named in body else None
    if _NAMED["reasoning_content"].search(text) or _QUOTED["reasoning"].search(text):
        return _reasoning_option(body, text)
    found = next((name for name in _OPTIONS if name in body and _NAMED[name].search(text)), None)
    return found or ("stream" if body.get("stream") and _QUOTED["stream"].search(text) else None)


def _reasoning_option(body: Mapping[str, object], text: str) -> str | None:
    messages = body.get("messages")
    spoken = [one for one in messages if get(one, "role") == "assistant"] if isinstance(messages, list) else []
    sent = [name for name in REASONING_FIELDS if any(get(one, name) for one in spoken)]
    if any(not get(one, "reasoning_content") for one in spoken) and _NAMED["reasoning_content"].search(text):
        return REASONING_REQUIRED
    return sent[0] if sent else None


def without(body: Body, refused: frozenset[str]) -> Body:
    """Removes refused options from a request; a token cap gets its other name, unless that one is refused too.

    Args:
        body: The members of the request.
        refused: Options.

    Returns:
        Another body.
    """
    # OpenAI's API refuses `stream_options` where `stream` is missing.
    gone = refused | ({"stream_options"} if "stream" in refused else set())
    left = {name: value for name, value in body.items() if name not in gone}
    for name, other in _RENAMED.items():
        if name in body and name in refused and other not in refused:
            left.setdefault(other, body[name])
    return left
