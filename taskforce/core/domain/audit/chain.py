"""The audit log as a hash chain: a changed, dropped, added or moved event breaks it, and verification finds the break.

The events of one tenant are numbered from 1 without gaps, and each has a hash over the hash before it:

    hash(0) = SHA-256 of ["taskforce-audit/1", tenant, 0]
    hash(n) = SHA-256 of ["taskforce-audit/1", tenant, n, hash(n - 1), event]

in canonical JSON: keys sorted by code point, no spaces, UTF-8 without escapes that JSON does not demand, no NaN,
numbers as Python's `json` writes them; hashes in lower-case hexadecimal. An export is JSON Lines, each line canonical:

    {"format":"taskforce-audit/1","from":"<anchor before the first event>","tenant":"<tenant>"}
    {"event":{...},"hash":"<hash>","seq":<number>}        one for each event
    {"to":"<anchor after the last event>"}

An anchor is a position in the chain, `tenant:seq:hash`. Whoever can rewrite a whole file can compute all its hashes
anew, and nothing within the file shows it. It is found because the anchor comes from elsewhere: kept by the auditor,
printed, or stored where the writer of the log cannot write.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from taskforce.core.domain.errors import Invalid

FORMAT: Final = "taskforce-audit/1"
MAX_EVENT_BYTES: Final = 4_000_000
"""The longest event, as canonical JSON in UTF-8."""
MAX_LINE_BYTES: Final = MAX_EVENT_BYTES + 200
"""The longest line of an export, without its line feed; a reader need never hold more."""
MAX_DEPTH: Final = 100

# The text form separates its parts by colons, which a tenant id cannot hold.
_ANCHOR: Final = re.compile(r"([A-Za-z0-9._-]{1,64}):(0|[1-9][0-9]{0,17}):([0-9a-f]{64})")
_ANCHOR_FORM: Final = "An anchor is tenant:seq:hash, the hash being 64 hexadecimal digits in lower case."
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A position in a tenant's chain; its hash binds all events before it.

    Attributes:
        tenant_id: The chain's tenant.
        seq: Number of the last event before it; 0 at the beginning of the chain.
        hash: That event's hash, 64 lower-case hexadecimal digits; at the beginning the genesis hash of the tenant.

    Raises:
        Invalid: `anchor_invalid`.
    """

    tenant_id: str
    seq: int
    hash: str

    def __post_init__(self) -> None:
        misplaced = self.seq == 0 and self.hash != _genesis_hash(self.tenant_id)
        if misplaced or not _ANCHOR.fullmatch(str(self)):
            raise Invalid("anchor_invalid", _ANCHOR_FORM)

    def __str__(self) -> str:
        return f"{self.tenant_id}:{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses an anchor from its text form `tenant:seq:hash`.

        Raises:
            Invalid: `anchor_invalid`.
        """
        if not (found := _ANCHOR.fullmatch(text)):
            raise Invalid("anchor_invalid", _ANCHOR_FORM)
        return cls(found[1], int(found[2]), found[3])

    @classmethod
    def genesis(cls, tenant_id: str) -> Self:
        """Returns the anchor at the beginning of a tenant's chain."""
        return cls(tenant_id, 0, _genesis_hash(tenant_id))


@dataclass(frozen=True, slots=True)
class Sealed:
    """An event with its position in the chain.

    Attributes:
        seq: Number of the event, from 1.
        hash: Hash of the event.
        event: The event, JSON-compatible, with its time under `at` (RFC 3339).
    """

    seq: int
    hash: str
    event: Mapping[str, object] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Verified:
    """The content of a verified export.

    Attributes:
        start: Anchor before its first event. Earlier events are not verified; at the genesis there are none.
        end: Anchor after its last event.
        first_at: Time of the first event; None without events, or where `at` holds no time with a zone.
        last_at: Time of the last event, likewise.
    """

    start: Anchor
    end: Anchor
    first_at: datetime | None
    last_at: datetime | None

    @property
    def tenant_id(self) -> str:
        """Returns the tenant of the events."""
        return self.end.tenant_id

    @property
    def events(self) -> int:
        """Returns the number of events."""
        return self.end.seq - self.start.seq

    @property
    def first_seq(self) -> int | None:
        """Returns the number of the first event; None without events."""
        return self.start.seq + 1 if self.events else None

    @property
    def last_seq(self) -> int | None:
        """Returns the number of the last event; None without events."""
        return self.end.seq if self.events else None


class Flaw(StrEnum):
    """The kind of break of an export; `details["reason"]` of `audit_broken`."""

    TOO_LONG = "too_long"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    DUPLICATE_KEY = "duplicate_key"
    NOT_CANONICAL = "not_canonical"
    MALFORMED = "malformed"
    WRONG_TENANT = "wrong_tenant"
    WRONG_START = "wrong_start"
    WRONG_SEQ = "wrong_seq"
    WRONG_HASH = "wrong_hash"
    WRONG_END = "wrong_end"
    CUT_SHORT = "cut_short"
    TRAILING_DATA = "trailing_data"


def canonical(event: Mapping[str, object]) -> str:
    """Serializes an event as canonical JSON, the only form that is hashed.

    A row's event is hashed as read back, for a database may write a number differently than it received it.

    Args:
        event: Objects with text keys, lists, texts, finite numbers, booleans and null.

    Raises:
        Invalid: `audit_event_invalid` when it holds something else, or is too deep or too long. Events are checked
            before they are committed, well below the limits, or the sealer would stop at one.
    """
    _check_shape(event)
    try:
        text = _ENCODER.encode(dict(event))
        size = len(text.encode())
    except (TypeError, ValueError):
        raise Invalid("audit_event_invalid", "An audit event holds something that JSON cannot say.") from None
    if size > MAX_EVENT_BYTES:
        raise Invalid("audit_event_invalid", f"An audit event is longer than {MAX_EVENT_BYTES} bytes.")
    return text


def seal(before: Anchor, events: Iterable[Mapping[str, object]]) -> tuple[tuple[Sealed, ...], Anchor]:
    """Appends events to the chain; the division into batches makes no difference.

    Args:
        before: The end of the chain before.
        events: The appended events, in order.

    Returns:
        The sealed events, and the end of the chain after them.

    Raises:
        Invalid: `audit_event_invalid`; no event is sealed then.
    """
    place, sealed = before, []
    for event in events:
        place = _follow(place, canonical(event))
        sealed.append(Sealed(place.seq, place.hash, event))
    return tuple(sealed), place


def export(before: Anchor, sealed: Iterable[Sealed], after: Anchor) -> Iterator[str]:
    """Exports a part of the chain as lines, each with its line feed; holds one event in memory at a time.

    Inconsistent input is written as it is: a log that was tampered with can be exported, and `verify` says where it
    breaks.

    Args:
        before: Anchor before the first event.
        sealed: The events, in order.
        after: Anchor after the last event.
    """
    yield _header_line(before) + "\n"
    for one in sealed:
        yield _event_line(_ENCODER.encode(dict(one.event)), one.hash, one.seq) + "\n"
    yield _closing_line(after) + "\n"


def verify(lines: Iterable[str], anchor: Anchor, *, start: Anchor | None = None) -> Verified:
    """Verifies an export and returns its content; reads it once and holds one line in memory at a time.

    It finds events that were changed, deleted, inserted, reordered or taken from another export or tenant, a cut tail
    or head, and lines in any other form than `export` writes. An export with all hashes computed anew is found only
    because
    `anchor` comes from elsewhere: taken from the file itself it proves nothing. Retention drops old events, so an
    export
    may begin anywhere in the chain: that it begins where it should is known only by `start`, or by reading
    `Verified.start`.

    Args:
        lines: The lines, with or without line feeds. Split at line feeds only (not `str.splitlines`); bytes that are no
            UTF-8 may come as `surrogateescape` decodes them.
        anchor: The expected end of the export.
        start: The expected beginning: the anchor of an earlier export, or the genesis; None does not check.

    Raises:
        Invalid: `audit_broken`; `details["line"]` is the first broken line, from 1 (the one after the last when lines
            are missing), and `details["reason"]` a `Flaw`.
    """
    source = _Source(lines)
    place = begin = _begun(source, anchor, start)
    first: object = None
    last: object = None
    while (found := source.read()).keys() != {"to"}:
        place, last = _continued(source, found, place, anchor)
        first = last if place.seq == begin.seq + 1 else first
    _check_end(source, found, place, anchor)
    return Verified(begin, place, _time(first), _time(last))


class _Source:
    """A reader of an export's lines, which names the line in errors."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._line = ""
        self._number = 0

    def read(self) -> dict[str, object]:
        """Reads the object on the next line."""
        if not self._advance():
            raise self.broken(Flaw.CUT_SHORT, "The file ends before its closing line.")
        self._check_text()
        try:
            found = _DECODER.decode(self._line)
        except KeyError:
            # Parsers disagree on which duplicate counts, so two readers would see two events.
            raise self.broken(Flaw.DUPLICATE_KEY, "A key stands twice in an object.") from None
        except (ValueError, RecursionError):
            raise self.broken(Flaw.NOT_JSON, "This is not JSON.") from None
        if not isinstance(found, dict):
            raise self.broken(Flaw.MALFORMED, "This is not an object.")
        return found

    def check_end(self) -> None:
        if self._advance():
            raise self.broken(Flaw.TRAILING_DATA, "Something follows the closing line.")

    def check_canonical(self, expected: str) -> None:
        """Requires the canonical form of a line, so that no two files have the same content."""
        if self._line != expected:
            raise self.broken(Flaw.NOT_CANONICAL, "The line is not in the form in which it was exported.")

    def broken(self, flaw: Flaw, text: str) -> Invalid:
        return Invalid("audit_broken", f"Line {self._number}: {text}", details={"line": self._number, "reason": flaw})

    def _advance(self) -> bool:
        self._number += 1
        line = next(self._lines, None)
        self._line = (line or "").removesuffix("\n")
        return line is not None

    def _check_text(self) -> None:
        line = self._line
        # Bytes that are no UTF-8 arrive as surrogates and count too.
        if len(line.encode(errors="surrogatepass")) > MAX_LINE_BYTES:
            raise self.broken(Flaw.TOO_LONG, f"The line is longer than {MAX_LINE_BYTES} bytes.")
        try:
            line.encode()
        except UnicodeEncodeError:
            raise self.broken(Flaw.NOT_UTF8, "The line is not text in UTF-8.") from None


def _begun(source: _Source, anchor: Anchor, start: Anchor | None) -> Anchor:
    found = source.read()
    if found.get("format") != FORMAT:
        raise source.broken(Flaw.MALFORMED, f"The file does not begin with a header of the format {FORMAT}.")
    begin = _anchor_in(source, found.get("from"))
    source.check_canonical(_header_line(begin))
    if begin.tenant_id != anchor.tenant_id:
        raise source.broken(Flaw.WRONG_TENANT, "The file and the anchor are of different tenants.")
    if start not in {None, begin}:
        raise source.broken(Flaw.WRONG_START, f"The file begins after event {begin.seq}, not where it was said to.")
    if begin.seq > anchor.seq or (begin.seq == anchor.seq and begin != anchor):
        raise source.broken(Flaw.WRONG_END, f"No way leads from here to the anchor at event {anchor.seq}.")
    return begin


def _continued(source: _Source, found: Mapping[str, object], before: Anchor, anchor: Anchor) -> tuple[Anchor, object]:
    seq, digest, event = found.get("seq"), found.get("hash"), found.get("event")
    # Not `isinstance`: `true` is an int in Python.
    if type(seq) is not int or not isinstance(digest, str) or not isinstance(event, dict):
        raise source.broken(Flaw.MALFORMED, "This is neither an event in its place nor the closing line.")
    try:
        text = canonical(event)
    except Invalid as error:
        raise source.broken(Flaw.MALFORMED, error.message) from None
    source.check_canonical(_event_line(text, digest, seq))
    if seq != before.seq + 1:
        raise source.broken(Flaw.WRONG_SEQ, f"Event {before.seq + 1} must stand here.")
    if seq > anchor.seq:
        raise source.broken(Flaw.WRONG_END, f"The file goes on after the anchor at event {anchor.seq}.")
    place = _follow(before, text)
    if digest != place.hash:
        raise source.broken(Flaw.WRONG_HASH, "This event, or what stands before it, is not what was recorded.")
    if seq == anchor.seq and place != anchor:
        raise source.broken(Flaw.WRONG_END, "The chain does not lead to the anchor: all of it was made anew.")
    return place, event.get("at")


def _check_end(source: _Source, found: Mapping[str, object], place: Anchor, anchor: Anchor) -> None:
    end = _anchor_in(source, found.get("to"))
    source.check_canonical(_closing_line(end))
    if place != anchor:
        raise source.broken(Flaw.CUT_SHORT, f"Events {place.seq + 1} to {anchor.seq} are missing before this line.")
    if end != place:
        raise source.broken(Flaw.WRONG_END, "The closing line names another place than the events lead to.")
    source.check_end()


def _anchor_in(source: _Source, value: object) -> Anchor:
    try:
        return Anchor.parse(value if isinstance(value, str) else "")
    except Invalid:
        raise source.broken(Flaw.MALFORMED, "There is no anchor where one must stand.") from None


def _header_line(before: Anchor) -> str:
    return _ENCODER.encode({"format": FORMAT, "from": str(before), "tenant": before.tenant_id})


def _event_line(event: str, digest: str, seq: int) -> str:
    return f'{{"event":{event},"hash":{_ENCODER.encode(digest)},"seq":{seq}}}'


def _closing_line(after: Anchor) -> str:
    return _ENCODER.encode({"to": str(after)})


def _follow(before: Anchor, event: str) -> Anchor:
    seq = before.seq + 1
    # As text: the event is canonical already, and a tenant id or a hash holds nothing that JSON escapes.
    text = f'["{FORMAT}","{before.tenant_id}",{seq},"{before.hash}",{event}]'
    return Anchor(before.tenant_id, seq, hashlib.sha256(text.encode()).hexdigest())


def _genesis_hash(tenant_id: str) -> str:
    return hashlib.sha256(f'["{FORMAT}","{tenant_id}",0]'.encode()).hexdigest()


def _check_shape(event: Mapping[str, object]) -> None:
    """Requires bounded depth and text keys: a JSON encoder would write the keys 1 and "1" alike."""
    waiting: list[tuple[object, int]] = [(event, 0)]
    while waiting:
        part, depth = waiting.pop()
        names = part if isinstance(part, Mapping) else ()
        if depth > MAX_DEPTH or not all(isinstance(name, str) for name in names):
            raise Invalid("audit_event_invalid", f"An audit event has texts as keys and at most {MAX_DEPTH} levels.")
        parts = part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else ()
        waiting += [(child, depth + 1) for child in parts]


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise KeyError
    return found


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_without_duplicates)


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        return None
    return found if found.tzinfo else None
