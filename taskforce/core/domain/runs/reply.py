"""Caps of a model's reply: calls, arguments and text that a run stores and acts on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from taskforce.core.domain.json_limits import walk
from taskforce.core.domain.runs.transcript import ShownText
from taskforce.core.interfaces.llm import RequestedCall

MAX_ARGUMENTS = 1_000_000
"""Characters of the arguments of all calls of a reply, at most."""
MAX_ARGUMENT_VALUES = 5_000
"""Values in the arguments of all calls of a reply, at most, containers included; schema checks visit each."""
MAX_NAME = 128
MAX_CALL_ID = 256
TEXT_KEPT = 100_000
"""Characters of a reply's text that the transcript and the run's answer keep."""
WHOLE_KEPT = 5_000_000
"""Characters of a reply's text that are stored at all, as result 0 of the step."""
_TOO_LARGE = '{"arguments_too_large": '


@dataclass(frozen=True, slots=True)
class CappedCalls:
    """The calls of a reply that are kept, and the number that are dropped."""

    calls: tuple[RequestedCall, ...]
    dropped: int = 0


def capped_calls(calls: Sequence[RequestedCall], most: int) -> CappedCalls:
    """Cuts the calls of a reply to the caps of a step.

    The first call beyond the cap is kept too: its observation tells the model of all that were not executed.

    Args:
        calls: The calls as requested by the model.
        most: Calls that may be executed.

    Returns:
        The calls, with a marker in place of arguments that are too large. Takes milliseconds for large arguments.
    """
    room, values = MAX_ARGUMENTS, MAX_ARGUMENT_VALUES
    kept: list[RequestedCall] = []
    for number, call in enumerate(calls[: most + 1], start=1):
        size = len(call.arguments)
        held = _values(call.arguments, values) if size <= room else values + 1
        arguments = call.arguments
        if held > values:
            # Valid JSON, for providers parse the arguments that are sent back to them.
            arguments = f"{_TOO_LARGE}{size}}}"
        else:
            room, values = room - size, values - held
        name_of_call = call.id if len(call.id) <= MAX_CALL_ID else f"call_{number}"
        kept.append(RequestedCall(name_of_call, call.name[:MAX_NAME], arguments))
    return CappedCalls(tuple(kept), max(0, len(calls) - most - 1))


def _values(arguments: str, most: int) -> int:
    """Counts the values in a call's arguments, up to one above the most; 0 for malformed JSON, which is refused
    later.
    """
    try:
        return sum(1 for _ in islice(walk(json.loads(arguments)), most + 1))
    except (ValueError, RecursionError):
        return 0


def is_too_large(call: RequestedCall) -> bool:
    """Tells whether the arguments of a call were too large and have been dropped."""
    return call.arguments.startswith(_TOO_LARGE)


def beyond_bound(calls: int, most: int) -> str:
    """Returns the observation that tells the model of the calls beyond the cap.

    Args:
        calls: Number of calls that the reply requested.
        most: Number of calls that may be executed.
    """
    return (
        f"Refused: you asked for {calls} tool calls at once, of which at most {most} run. "
        f"The last {calls - most} were not run; ask for them in the next steps, as far as they are still needed."
    )


def capped_text(text: str, step: int) -> ShownText:
    """Cuts a reply's text to what the transcript keeps, with the whole text where it is longer.

    Args:
        text: The reply's text.
        step: The step; the whole text is stored as its result 0.
    """
    if len(text) <= TEXT_KEPT:
        return ShownText(text)
    # A single reply may be larger than a row should be.
    whole = text[:WHOLE_KEPT]
    beyond = len(text) - len(whole)
    note = (
        f"\n[... cut: {TEXT_KEPT} of {len(text)} characters are kept here. The whole is stored; "
        f"read on with read_result(step={step}, call=0, offset={TEXT_KEPT}) ...]"
    )
    lost = f"\n[... {beyond} characters more were not kept ...]" if beyond else ""
    return ShownText(text[:TEXT_KEPT] + note, whole + lost)
