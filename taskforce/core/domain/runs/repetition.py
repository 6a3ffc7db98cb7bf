"""How often a model has repeated itself: the same tool calls, step after step, with the same results."""

import json
import re
from collections.abc import Sequence
from itertools import groupby, takewhile

from taskforce.core.domain.runs.transcript import Entry, EntryKind

# The reference to a result that was shown cut names the step, which differs although nothing else does.
_REFERENCE = re.compile(r"read_result\(step=\d+")

_Step = tuple[tuple[object, ...], ...]


def repeated_steps(entries: Sequence[Entry]) -> int:
    """Counts the latest steps that asked for the same calls and brought the same results.

    A result that differs, another call, or a person's message in between begins a new count: whoever polls something
    that changes, or does again what a person asked for, does not repeat himself.

    Args:
        entries: The transcript in order, up to the latest step that is over.

    Returns:
        1 for a latest step that repeats nothing, 0 when it called no tool.
    """
    steps = [tuple(of_step) for step, of_step in groupby(entries, key=lambda entry: entry.step) if step > 0]
    latest = _calls(steps[-1]) if steps else ()
    if not latest:
        return 0
    same = list(takewhile(lambda step: _calls(step) == latest, reversed(steps)))
    return next((place for place, step in enumerate(same, start=1) if step[0].kind is EntryKind.WORD), len(same))


def must_be_told(repeated: int, most: int) -> bool:
    """Whether a model that may repeat a step so often is told that it does: from half of that on."""
    return repeated >= max(2, (most + 1) // 2)


def _calls(step: Sequence[Entry]) -> _Step:
    reply = next((entry for entry in step if entry.kind is EntryKind.REPLY), None)
    asked = reply.tool_calls if reply is not None else ()
    observed = {entry.call: entry for entry in step if entry.kind is EntryKind.OBSERVATION}
    return tuple(
        (call.name, _canonical(call.arguments), *_result(observed.get(number)))
        for number, call in enumerate(asked, start=1)
    )


def _result(observed: Entry | None) -> tuple[object, ...]:
    return (None, "") if observed is None else (observed.status, _REFERENCE.sub("", observed.text))


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
