"""Observations of tool calls: the results that the model receives, stored with milestone and audit event."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from taskforce.application.audit.events import agent_event
from taskforce.application.runs.tool_calls import content_of
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.runs.transcript import CallStatus, Entry, EntryKind, ShownText
from taskforce.core.interfaces.llm import RequestedCall
from taskforce.core.interfaces.store import Records

MISFIT = "The arguments do not fit"
"""The beginning of an observation of arguments that do not fit the tool's schema; what follows quotes them."""


def observation(
    step: int,
    number: int,
    call: RequestedCall,
    *,
    status: CallStatus,
    result: ShownText,
    at: datetime,
    duration_ms: int = 0,
) -> Entry:
    """Builds the observation of a tool call.

    Args:
        step: The step, from 1.
        number: The call within the step, from 1.
        call: The call.
        status: Its outcome.
        result: Its result, cut to what the model receives.
        at: The time, UTC.
        duration_ms: Milliseconds that the tool took.
    """
    return Entry(
        step=step,
        call=number,
        kind=EntryKind.OBSERVATION,
        text=result.text,
        at=at,
        # The model may write a name of any length.
        tool=call.name[:80],
        tool_call_id=call.id,
        status=status,
        duration_ms=duration_ms,
        whole_size=len(result.whole) if result.whole is not None else None,
    )


async def store_observations(
    records: Records, spec: RunSpec, observed: Sequence[tuple[RequestedCall, Entry]]
) -> tuple[Entry, ...]:
    """Stores observations with their milestones and audit events, in the caller's transaction.

    Args:
        records: The tenant's records.
        spec: The run's specification.
        observed: The calls, each with its observation.

    Returns:
        The observations as they will be read.

    Raises:
        DuplicateKey: One was stored before; raised here or at the end of the transaction, which adds nothing then.
    """
    return tuple([await _tell(records, spec, call, entry) for call, entry in observed])


async def _tell(records: Records, spec: RunSpec, call: RequestedCall, entry: Entry) -> Entry:
    stored = await records.transcripts.append(spec.run_id, entry)
    data = {"step": entry.step, "call": entry.call, "tool": entry.tool, "status": entry.status}
    await records.events.append(spec.run_id, "tool.finished", data, entry.at)
    await records.audit.append(_audit(spec, call, entry))
    return stored


def _audit(spec: RunSpec, call: RequestedCall, entry: Entry) -> AuditEvent:
    refused = entry.status in {CallStatus.REFUSED, CallStatus.DENIED}
    event = agent_event(
        spec,
        "tool.call",
        "tool",
        entry.tool or "",
        entry.at,
        outcome="denied" if refused else "allowed",
        reason=_reason(entry.text) if refused else None,
        run_id=spec.run_id,
        step=entry.step,
        call=entry.call,
        status=entry.status,
    )
    return replace(event, content=content_of(call))


def _reason(text: str) -> str:
    # Whether the audit log stores arguments is a setting of the deployment; a reason must not quote them past it.
    return f"{MISFIT}." if text.startswith(MISFIT) else text[:200]
