"""Effects of tools that are not idempotent: each has a beginning in the audit log, and an outcome in the end."""

from datetime import datetime

from taskforce.application.audit.events import agent_event
from taskforce.application.runs.observations import observation, store_observations
from taskforce.application.runs.tool_calls import CallRef
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.runs.transcript import CallStatus, ShownText
from taskforce.core.interfaces.store import Records


def effect_key(ref: CallRef) -> str:
    """Returns the key of a call's effect, the same in every attempt, so that a service can recognise a repetition."""
    return f"{ref.run_id}/{ref.step}/{ref.call}"


def cut_off(ref: CallRef) -> str:
    """Returns the observation of a call whose run ended while it was under way."""
    return (
        "The run ended while this tool was running. It may or may not have had its effect, and nobody runs it again. "
        f"Look where it acts, by its key {effect_key(ref)} if it is known there, before you repeat it."
    )


def begun(spec: RunSpec, ref: CallRef, tool: str, now: datetime) -> AuditEvent:
    """Builds the audit event of an effect's beginning; the observation's event says how it ended."""
    return agent_event(spec, "tool.begin", "tool", tool, now, run_id=spec.run_id, step=ref.step, call=ref.call)


async def settle_effects(records: Records, spec: RunSpec, now: datetime) -> None:
    """Stores the outcome `unknown` for calls that were begun and whose worker died before it could tell more.

    Args:
        records: The tenant's records.
        spec: The specification of a run that is about to end.
        now: The time, UTC.

    Raises:
        DuplicateKey: One told its outcome meanwhile; a repetition leaves it out.
    """
    unknown = []
    for step, number in await records.effects.unsettled(spec.run_id):
        reply = await records.transcripts.entry(spec.run_id, step, 0)
        if reply is not None:
            call = reply.tool_calls[number - 1]
            text = ShownText(cut_off(CallRef(spec.tenant_id, spec.run_id, step, number)))
            unknown.append((call, observation(step, number, call, status=CallStatus.UNKNOWN, result=text, at=now)))
    await store_observations(records, spec, unknown)
