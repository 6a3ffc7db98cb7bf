"""What of a model's reply a run takes: a reply may be of any size, what follows from it may not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from taskforce.core.domain.json_limits import walk
from taskforce.core.domain.runs.transcript import Shown
from taskforce.core.interfaces.llm import RequestedCall

MAX_ARGUMENTS = 1_000_000
"""Characters of the arguments of all calls of a reply."""
MAX_ARGUMENT_VALUES = 5_000
"""Values in the arguments of all calls of a reply, those that hold others included: what a check walks through."""
MAX_NAME = 128
MAX_CALL_ID = 256
TEXT_KEPT = 100_000
"""Characters of a reply's words that the transcript and the run's answer keep."""
WHOLE_KEPT = 5_000_000
"""Characters of a reply's words that are kept at all, as a result of the step."""
_TOO_LARGE = '{"arguments_too_large": '


@dataclass(frozen=True, slots=True)
class KeptCalls:
    """The calls of a reply that are kept, and how many are not."""

    calls: tuple[RequestedCall, ...]
    dropped: int = 0


def kept_calls(calls: Sequence[RequestedCall], most: int) -> KeptCalls:
    """Cuts the calls of a reply to what a step can carry.

    The first call beyond the bound is kept too: on it the model is told of all that are beyond.

    Args:
        calls: As the model asked for them.
        most: Calls that may run.

    Returns:
        The calls; the arguments of those that are too large are left out. It takes milliseconds, where they are large.
    """
    room, values = MAX_ARGUMENTS, MAX_ARGUMENT_VALUES
    kept: list[RequestedCall] = []
    for number, call in enumerate(calls[: most + 1], start=1):
        size = len(call.arguments)
        held = _values(call.arguments, values) if size <= room else values + 1
        arguments = call.arguments
        if held > values:
            arguments = f"{_TOO_LARGE}{size}}}"
        else:
            room, values = room - size, values - held
        name_of_call = call.id if len(call.id) <= MAX_CALL_ID else f"call_{number}"
        kept.append(RequestedCall(name_of_call, call.name[:MAX_NAME], arguments))
    return KeptCalls(tuple(kept), max(0, len(calls) - most - 1))


def _values(arguments: str, most: int) -> int:
    """Values in a call's arguments, counted to one more than the most; none in what is no JSON, and is refused."""
    try:
        return sum(1 for _ in islice(walk(json.loads(arguments)), most + 1))
    except (ValueError, RecursionError):
        return 0


def is_too_large(call: RequestedCall) -> bool:
    """Whether the arguments of a call were more than a step carries, and are not kept."""
    return call.arguments.startswith(_TOO_LARGE)


def beyond_bound(asked: int, most: int) -> str:
    """What the model is told of the calls beyond the bound.

    Args:
        asked: Calls that the reply asked for.
        most: Calls that may run.
    """
    return (
        f"Refused: you asked for {asked} tool calls at once, of which at most {most} run. "
        f"The last {asked - most} were not run; ask for them in the next steps, as far as they are still needed."
    )


def kept_text(text: str, step: int) -> Shown:
    """The words of a reply as they are kept, and the whole where that is more.

    Args:
        text: The words.
        step: The step, whose result 0 the whole is.
    """
    if len(text) <= TEXT_KEPT:
        return Shown(text)
    whole = text[:WHOLE_KEPT]
    beyond = len(text) - len(whole)
    note = (
        f"\n[... cut: {TEXT_KEPT} of {len(text)} characters are kept here. The whole is stored; "
        f"read on with read_result(step={step}, call=0, offset={TEXT_KEPT}) ...]"
    )
    lost = f"\n[... {beyond} characters more were not kept ...]" if beyond else ""
    return Shown(text[:TEXT_KEPT] + note, whole + lost)
