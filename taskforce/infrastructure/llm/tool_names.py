"""Names and ids of tool calls: as a model writes them, as tools are offered, and as providers accept them.

Models decorate names (`functions.calculator`, `calculator<|channel|>commentary`, `Write File`). Providers refuse a
conversation whose names do not match `[a-zA-Z0-9_-]{1,64}` or whose ids are too long or not unique. The transcript
keeps what was said; it is cleaned each time it is sent.
"""

import hashlib
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence

from taskforce.core.interfaces.llm import ChatMessage, RequestedCall

LONGEST = 64
NAMELESS = "unnamed_tool"

_SOUND = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OTHER = re.compile(r"[^a-zA-Z0-9_-]+")
_NAMESPACE = re.compile(r"^.*[./:\\]")
# As in the ids of Kimi K2, `functions.search:0`, which models also write as names.
_COUNTER = re.compile(r":\d+$")


def offered_name(written: str, offered: Iterable[str]) -> str:
    """Finds the tool that a model means.

    Args:
        written: The name as the model wrote it.
        offered: Names of the tools on offer.

    Returns:
        The one tool that the spelling leads to; the name as it was written where there is none, or more than one.
    """
    names = tuple(offered)
    if written in names:
        return written
    for spelling in _spellings(written):
        found = [name for name in names if name == spelling] or [
            name for name in names if _folded(name) == _folded(spelling)
        ]
        if found:
            return found[0] if len(found) == 1 else written
    return written


def _spellings(written: str) -> tuple[str, ...]:
    """Yields readings of the name, from the nearest to what was written to the farthest."""
    bare = _without_template(written).strip().strip("`'\"*").removesuffix("()").strip()
    uncounted = _COUNTER.sub("", bare)
    return (bare, uncounted, _NAMESPACE.sub("", uncounted))


def _without_template(written: str) -> str:
    """Drops a chat template's tokens, which begin with `<`, and what follows a name; a name may follow them."""
    before, _, after = written.partition("<")
    return before if before.strip() else after.rpartition(">")[2]


def _folded(name: str) -> str:
    return _OTHER.sub("_", name.strip()).replace("-", "_").casefold()


def wire_name(written: str, offered: Iterable[str]) -> str:
    """Returns a name that every provider accepts.

    Args:
        written: The name as the transcript has it.
        offered: Names of the tools on offer.

    Returns:
        The name of the tool that is meant, if one is; else what is left of the name.
    """
    name = offered_name(written, offered)
    if _SOUND.fullmatch(name):
        return name
    return _OTHER.sub("_", _without_template(name).strip())[:LONGEST].strip("_") or NAMELESS


class WireIds:
    """Assigns ids of calls that every provider accepts: at most 64 sound characters, each used once.

    The same conversation always gives the same ids, so that providers find it in their caches.
    """

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._seen: Counter[str] = Counter()
        self._open: defaultdict[str, deque[str]] = defaultdict(deque)

    def of_calls(self, calls: Sequence[RequestedCall]) -> list[str]:
        """Assigns ids to the calls of one message.

        Args:
            calls: The calls.

        Returns:
            An id for each.
        """
        # Observations directly follow the message that calls: a later message may use the same ids again.
        self._open.clear()
        return [self._opened(call.id) for call in calls]

    def of_observation(self, message: ChatMessage) -> str:
        """Returns the id of the call that an observation belongs to.

        Args:
            message: The observation.

        Returns:
            The id that its call was given; where several calls had one id, they are told in their order.
        """
        written = message.tool_call_id or ""
        waiting = self._open[written]
        return waiting.popleft() if waiting else _sound_id(written, 0)

    def _opened(self, written: str) -> str:
        given = _sound_id(written, self._seen[written])
        # A model may write by itself what the digest of another id gives.
        while given in self._used:
            self._seen[written] += 1
            given = _sound_id(written, self._seen[written])
        self._seen[written] += 1
        self._used.add(given)
        self._open[written].append(given)
        return given


def _sound_id(written: str, times_before: int) -> str:
    if not times_before and _SOUND.fullmatch(written):
        return written
    digest = hashlib.sha256(f"{written}\0{times_before}".encode("utf-8", "replace")).hexdigest()
    return f"call_{digest[:24]}"
