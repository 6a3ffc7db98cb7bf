"""Detection of repeated steps: the same tool calls with the same results, step after step."""

import json
import re
from collections.abc import Sequence
from itertools import groupby, takewhile

from taskforce.core.domain.runs.transcript import Entry, EntryKind

# The note under a truncated result names its step, so equal results of two steps would differ by it alone.
_REFERENCE = re.compile(r"read_result\(step=\d+")

_Step = tuple[tuple[object, ...], ...]


def repeated_steps(entries: Sequence[Entry]) -> int:
    """Counts the latest steps in a row with the same calls and results.

    A different result, another call, or a person's message in between resets the count: polling something that changes,
    or repeating at a person's request, is no repetition.

    Args:
        entries: The transcript in order, up to the latest complete step.

    Returns:
        1 when the latest step repeats no other, 0 when it called no tool.
    """
    steps = [tuple(of_step) for step, of_step in groupby(entries, key=lambda entry: entry.step) if step > 0]
    latest = _calls(steps[-1]) if steps else ()
    if not latest:
        return 0
    same = list(takewhile(lambda step: _calls(step) == latest, reversed(steps)))
    return next((place for place, step in enumerate(same, start=1) if step[0].kind is EntryKind.WORD), len(same))


def needs_hint(repeated: int, most: int) -> bool:
    """Tells whether the model is to be warned of its repetition: from half of the limit on."""
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
        # Models vary spaces and the order of keys between otherwise equal calls.
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
