"""Assembly of tool calls from the deltas of a stream, whatever the server leaves out or repeats.

By the protocol a delta names the call's `index`, and the first of a call its id and name. Real servers send an index
that is always
0 or missing, ids are empty, alike or new in each piece, names are repeated or come in parts, and arguments are sent
again as a whole. What decides then is whether the arguments so far are a whole JSON object.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from taskforce.core.interfaces.llm import RequestedCall
from taskforce.infrastructure.llm.chat_format import parsed_object
from taskforce.infrastructure.llm.tool_names import offered_name

MOST_LOOKED_AT = 2_000_000
"""Characters that are parsed to see whether arguments are complete; beyond them the protocol alone decides."""
LONGEST_NAME = 256
"""Longest name or id that is kept, in characters."""
MOST_DIGITS = 6


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        whole = "".join(self.pieces)
        # Some servers send all of the text so far each time; put together, that is no JSON.
        if len(self.pieces) > 1 and _is_grown(self.pieces) and parsed_object(whole) is None:
            return self.pieces[-1]
        return whole


@dataclass(frozen=True, slots=True)
class _Piece:
    """Holds what a delta says of a call; empty where it says nothing."""

    index: int | None
    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class CallDeltas:
    """Collects the tool calls of a reply while it arrives.

    Args:
        offered: Names of the tools on offer.
        most_calls: Calls that are kept.
        most_characters: Characters of the arguments of all calls that are kept.

    Attributes:
        left_out: Whether the reply asks for more calls than are kept.
        too_long: Whether the arguments are longer than is kept; the last call is not whole then.
    """

    offered: tuple[str, ...]
    most_calls: int
    most_characters: int
    left_out: bool = False
    too_long: bool = False
    _calls: list[_Call] = field(default_factory=list)
    _open: dict[int, _Call] = field(default_factory=dict)
    _characters: int = 0
    _looked: int = 0

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, delta: object) -> bool:
        """Adds a delta of a call, as LiteLLM's object or as the server's JSON. Returns whether it added anything."""
        piece = _piece(delta)
        if self.left_out or self.too_long or not (piece.id or piece.name or piece.arguments):
            return False
        call = self._call_of(piece)
        if call is None:
            self.left_out = True
            return True
        before = (self._characters, call.name)
        call.id = call.id or piece.id
        call.name = self._named(call, piece.name)
        self._append(call, piece.arguments)
        return before != (self._characters, call.name)

    def requested(self) -> tuple[RequestedCall, ...]:
        """Returns the calls so far, each with an id of its own and the name of the tool that it means."""
        ids: set[str] = set()
        calls = []
        for call in self._calls:
            # By its id a result finds its call in the next request: a missing or repeated one would mix them up.
            given = call.id if call.id and call.id not in ids else f"call_{uuid.uuid4().hex[:16]}"
            ids.add(given)
            calls.append(RequestedCall(given, offered_name(call.name, self.offered), call.arguments))
        return tuple(calls)

    def texts(self) -> list[str]:
        """Returns names and arguments so far."""
        return [call.name + call.arguments for call in self._calls]

    @property
    def nameless(self) -> bool:
        """Returns whether a call names no tool."""
        return any(not call.name.strip() for call in self._calls)

    @property
    def last_is_whole(self) -> bool:
        """Returns whether the arguments of the last call are a complete JSON object, or absent."""
        last = self._calls[-1].arguments if self._calls else ""
        return not self.too_long and (not last.strip() or parsed_object(last) is not None)

    def _call_of(self, piece: _Piece) -> _Call | None:
        """Returns the call that a delta belongs to, a new one where it begins one; None beyond the bound."""
        known = self._known(piece)
        if known is not None and not self._begins_another(known, piece):
            return known
        if len(self._calls) >= self.most_calls:
            return None
        # A second call in the same place may repeat neither index nor name.
        begun = _Call(piece.id, piece.name or (known.name if known else ""))
        self._calls.append(begun)
        self._open[len(self._calls) - 1 if piece.index is None else piece.index] = begun
        return begun

    def _known(self, piece: _Piece) -> _Call | None:
        if piece.id and not piece.name:
            by_id = next((call for call in reversed(self._calls) if call.id == piece.id), None)
            if by_id is not None:
                return by_id
        if piece.index is not None and piece.index in self._open:
            return self._open[piece.index]
        if piece.index is None and piece.id and piece.name:
            return next((call for call in reversed(self._calls) if call.id == piece.id), None)
        unnumbered = piece.index is None and not piece.id
        return self._calls[-1] if self._calls and (unnumbered or not piece.name) else None

    def _begins_another(self, call: _Call, piece: _Piece) -> bool:
        if piece.name and piece.id and call.id and piece.id != call.id:
            return True
        if piece.name and piece.name != call.name and call.name and not self._is_part_of_name(call, piece.name):
            return True
        if not call.pieces or not piece.arguments.lstrip().startswith("{"):
            return False
        so_far, again = self._whole_arguments(call), piece.arguments.strip()
        if so_far == again:
            # An equal delta is a repetition, unless neither has an id: then it may be a second, equal call.
            return bool(piece.name) and not piece.id and not call.id
        return so_far not in (None, "{}")

    def _is_part_of_name(self, call: _Call, name: str) -> bool:
        """Returns whether a name arrives in parts, or grows, towards the name of an offered tool."""
        if call.pieces or call.name in self.offered:
            return False
        grown = name.startswith(call.name)
        return grown or any(offered.startswith(call.name + name) for offered in self.offered)

    def _named(self, call: _Call, name: str) -> str:
        if not call.name or not name or call.name == name or not self._is_part_of_name(call, name):
            return call.name or name
        return name if name.startswith(call.name) else call.name + name

    def _append(self, call: _Call, arguments: str) -> None:
        # Servers that write `null` first mean that there are no arguments yet.
        if not arguments or (arguments == "null" and not call.pieces):
            return
        if call.pieces and arguments.lstrip().startswith("{"):
            so_far = self._whole_arguments(call)
            if so_far == arguments.strip():
                return
            if so_far == "{}":
                # Some servers send `{}` as a placeholder before the arguments.
                call.pieces.clear()
        self._characters += len(arguments)
        if self._characters > self.most_characters:
            self.too_long = True
            return
        call.pieces.append(arguments)

    def _whole_arguments(self, call: _Call) -> str | None:
        """Returns the arguments so far if they are a complete object; parsing is bounded, for its cost grows too."""
        if not call.pieces or not call.pieces[-1].rstrip().endswith("}") or self._looked > MOST_LOOKED_AT:
            return None
        whole = "".join(call.pieces).strip()
        self._looked += len(whole)
        return whole if parsed_object(whole) is not None else None


def _is_grown(pieces: list[str]) -> bool:
    """Returns whether each delta repeats the one before and more, from a server that sends all text each time."""
    return all(after.startswith(before) for before, after in pairwise(pieces))


def _piece(delta: object) -> _Piece:
    function = get(delta, "function")
    source = delta if function is None else function
    given, name = _text(get(delta, "id"))[:LONGEST_NAME], _text(get(source, "name"))[:LONGEST_NAME]
    return _Piece(_index(get(delta, "index")), given, name, _arguments(source))


def _index(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) <= MOST_DIGITS:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _arguments(function: object) -> str:
    """Returns arguments as text; some servers send the object itself."""
    value = get(function, "arguments")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else _text(value)


def call_deltas(value: object) -> Iterable[object]:
    """Returns the deltas in the value of `tool_calls`: a list, or a single one."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def get(value: object, name: str) -> object:
    """Reads a member of a JSON object, or an attribute of one of LiteLLM's objects."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)
