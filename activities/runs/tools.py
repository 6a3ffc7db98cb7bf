"""Activities of tool calls."""

from collections.abc import Sequence
from typing import Any

from temporalio import activity

from activities.work import suspended_work, worked_ms
from models.messages.runs import Permit, Permits, StepRef, ToolOutcome, ToolTurn
from taskforce.application.outages import AttemptControl
from taskforce.application.runs.tool_calls import CallRef
from taskforce.application.runs.tool_checks import PermittedCall
from taskforce.application.runs.tool_step import ToolStep, ToolStepResult


class ToolActivities:
    """The activities that authorize, run and deny tool calls.

    Args:
        tool_step: The use cases of a tool step.
    """

    def __init__(self, tool_step: ToolStep) -> None:
        self._tool_step = tool_step

    @activity.defn(name="authorize")
    async def authorize(self, ref: StepRef) -> Permits:
        """Authorizes all calls of a step, for replies that `call_model` has not authorized (histories before
        2026-11).
        """
        return Permits(calls=permits(await self._tool_step.authorize(ref.tenant_id, ref.run_id, ref.step)))

    @activity.defn(name="run_tool")
    async def run_tool(self, turn: ToolTurn) -> ToolOutcome:
        """Runs one tool call; the result is stored as a row."""
        observed = await self._tool_step.run(
            _ref(turn),
            activity.info().attempt,
            turn.words,
            turn.request_id,
            by_row=turn.by_row,
            lost=turn.lost,
            control=AttemptControl(is_over=_is_over, waiting=suspended_work),
        )
        return _outcome(observed, worked=worked_ms())

    @activity.defn(name="record_denial")
    async def record_denial(self, turn: ToolTurn) -> ToolOutcome:
        """Records the observation that a call was not approved."""
        return _outcome(await self._tool_step.record_denial(_ref(turn), turn.request_id or ""))


def _is_over() -> bool:
    info, details = activity.info(), activity.cancellation_details()
    # Another attempt follows one that its worker's shutdown or a missed heartbeat ends, and a local activity whose
    # workflow is evicted.
    return details is not None and details.cancel_requested and not info.is_local


def _ref(turn: ToolTurn) -> CallRef:
    return CallRef(turn.tenant_id, turn.run_id, turn.step, turn.call)


def permits(allowed: Sequence[PermittedCall]) -> tuple[Permit, ...]:
    """Maps authorized calls to the permits of a workflow."""
    return tuple(_permit(one) for one in allowed)


def _permit(one: PermittedCall) -> Permit:
    spec = one.tool_spec
    wanted: dict[str, bool] = {"quick": spec.quick, "approval": one.approval, "asks": spec.asks_person}
    # Unset fields are not serialized: defaults stay out of the history.
    return Permit(call=one.call, tool=spec.name, seconds=spec.timeout_seconds, **{k: v for k, v in wanted.items() if v})


def _outcome(observed: ToolStepResult, *, worked: int | None = None) -> ToolOutcome:
    # Unset fields are not serialized: defaults stay out of the history.
    more: dict[str, Any] = {"unanswered": True} if observed.unanswered else {}
    if worked is not None:
        more["worked_ms"] = worked
    if observed.answered_by is not None:
        more["answered_by"] = observed.answered_by
    if observed.todo is not None:
        more["todo"] = tuple((item.text, item.status.value) for item in observed.todo.items)
    return ToolOutcome(status=observed.status.value, **more)
