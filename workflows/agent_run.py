"""The workflow of a run: model steps and tool steps in turn, until an answer or a limit (ReAct loop)."""

import asyncio
from contextlib import suppress
from typing import Any, Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

from workflows.run_approvals import RunApprovals
from workflows.run_attempts import RunAttempts
from workflows.run_budgets import BUDGET_REFUSED, RunBudgets
from workflows.run_messages import RunMessages
from workflows.run_waits import ANSWER, PAUSE, RunWaits
from workflows.run_work import RunWork
from workflows.runtime.activity_calls import (
    MODEL_PATIENCE,
    is_refusal,
    last_failure,
    ran_out,
    stop_if_cancelled,
)
from workflows.runtime.markdown import escaped

with workflow.unsafe.imports_passed_through():
    from models.messages.approvals import ApprovalInput
    from models.messages.frame import RunRef
    from models.messages.runs import (
        Carried,
        ModelOutcome,
        ModelTurn,
        Permit,
        Permits,
        RunEnd,
        RunEnded,
        RunInput,
        RunPlan,
        RunProgress,
        StepRef,
        ToolOutcome,
        ToolTurn,
    )
    from taskforce.core.domain.ids import effect_id
    from taskforce.core.domain.metering.budget_ledgers import BUDGET_EXCEEDED
    from taskforce.core.domain.runs.kill_switches import RUN_CANCELLED
    from taskforce.core.domain.runs.questions import question_id
    from taskforce.core.domain.runs.run import TIME_USED_UP, TOKENS_USED_UP, Limits, StopReason
    from taskforce.core.domain.runs.todo import TodoList
    from workflows.runtime.payload_converter import is_readable

# 2026-12: older histories take any message as the answer, also one that was sent before the question.
ANSWERED_BY_ID = "questions-answered-by-id"
# 2026-12: older histories close a question with the first id that is sent for it, whether it has a row or not.
ANSWERED_BY_ROW = "questions-answered-by-row"

_Final = Literal["completed", "incomplete", "failed", "cancelled"]


@workflow.defn(name="AgentRun")
class AgentRun:
    """A run, from its mission to its end; the transcript is rows, never part of the history."""

    _plan: RunPlan

    @workflow.init
    def __init__(self, start: RunInput) -> None:
        carried = start.carried
        self._tenant_id = start.tenant_id
        self._run_id = start.run_id
        self._given = start.plan
        self._part = carried.part
        self._step = carried.step
        self._tokens = carried.tokens
        self._todo = carried.todo
        self._paused = carried.paused
        self._has_new_limits = False
        self._stop_reason: StopReason | None = None
        self._waits = RunWaits(self._ref(), self._describe)
        self._worked = RunWork(carried.worked_seconds, self._waits)
        self._approvals = RunApprovals(self._waits)
        self._budgets = RunBudgets(self._ref(), self._waits, self._approvals)
        self._attempts = RunAttempts(self._waits, self._worked, self._while_paused, self._until_budget)
        self._questions = self._waits.questions
        self._messages = RunMessages(carried, self._waits)
        self._row_ended = False
        self._asking = asyncio.Lock()

    @workflow.run
    async def run(self, start: RunInput) -> str:
        """Runs the loop until the run has ended; returns its final status."""
        try:
            self._plan = (
                self._given if self._given is not None else await self._waits.run_row("begin_run", self._ref(), RunPlan)
            )
            end = await self._work()
            if not self._row_ended:
                stop_if_cancelled()
        except (asyncio.CancelledError, FailureError) as error:
            end = self._end("cancelled") if is_cancelled_exception(error) else self._failed(error)
            status = await self._finish(end)
            # Temporal records the execution as cancelled only if the error itself reaches it.
            if end.status == "cancelled":
                raise
            if status == "failed":
                raise ApplicationError(
                    end.error_message or "", type=end.error_code or "internal", non_retryable=True
                ) from None
            return status
        return await self._finish(end)

    @workflow.signal
    def pause(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Pauses the run before its next step."""
        self._paused |= is_readable(payload)

    @workflow.signal
    def resume(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Resumes a paused run."""
        self._paused &= not is_readable(payload)

    @workflow.signal
    def limits_raised(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Notifies the run that its limits were raised; they are read before its next step."""
        self._has_new_limits |= is_readable(payload)

    @workflow.signal
    def add_word(self, *message: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Receives the id of a person's message and of the question that it answers; the message itself is a row.

        A message without a question, as gateways before 2026-12 sent them, answers the oldest open question.
        """
        self._messages.receive(message)

    @workflow.query
    def progress(self) -> RunProgress:
        """Returns the run's status, counters and open questions."""
        return RunProgress(
            status=self._waits.status,
            step=self._step,
            tokens=self._tokens,
            waiting_for=self._waits.waiting_for,
            todo=self._todo,
            questions=self._questions.unanswered,
            retry=self._waits.retry,
        )

    async def _work(self) -> RunEnd:
        while True:
            await self._while_paused()
            await self._read_new_limits()
            limits = Limits(self._plan.max_steps, self._plan.max_tokens, self._plan.max_seconds)
            reached = limits.reached(self._step, self._tokens, self._worked.seconds(limits.max_seconds))
            if reached in {StopReason.MAX_TOKENS, StopReason.MAX_SECONDS}:
                return self._incomplete(reached)
            left = self._worked.time_left(limits.max_seconds)
            try:
                if reached is StopReason.MAX_STEPS:
                    await self._think(closing=True)
                    return self._incomplete(reached)
                answered = await self._take_step()
                # A message that arrived during the model call gets a step of its own, although the model has answered.
                is_over = self._row_ended or (answered and not await self._has_words())
            except FailureError as error:
                await self._until_cancelled(error)
                used_up = self._used_up(error)
                if used_up is not None:
                    return used_up
                # In older histories the timeout was the run's remaining time: its own limit was reached.
                if ran_out(error) and left <= MODEL_PATIENCE and not self._worked.is_counted():
                    return self._incomplete(StopReason.MAX_SECONDS)
                raise
            if is_over:
                return self._end("completed") if self._stop_reason is None else self._incomplete(self._stop_reason)
            await self._continue_as_new()

    async def _read_new_limits(self) -> None:
        while self._has_new_limits:
            self._has_new_limits = False
            self._plan = await self._waits.run_row("read_plan", self._ref(), RunPlan)
            # Runs from before 2026-12 carry no plan in their input, and must replay without one.
            self._given = None if self._given is None else self._plan

    async def _take_step(self) -> bool:
        outcome = await self._think()
        if outcome.calls:
            await self._while_paused()
            await self._act(outcome)
        self._worked.settle()
        return not outcome.calls

    async def _think(self, *, closing: bool = False) -> ModelOutcome:
        self._step += 1
        self._describe()
        # Taken before the call: a message that arrives during it belongs to the next step.
        messages = self._messages.take()
        turn: dict[str, Any] = {"words": messages} if messages else {}
        if closing:
            turn["closing"] = True
        if self._given is not None:
            turn["told"] = self._messages.told
        outcome = await self._ask(turn)
        self._messages.forget(outcome.unknown)
        self._tokens += outcome.tokens
        self._row_ended = outcome.ended
        self._stop_reason = None if outcome.stop_reason is None else StopReason(outcome.stop_reason)
        return outcome

    async def _ask(self, turn: dict[str, Any]) -> ModelOutcome:
        def attempt(tried: int) -> ModelTurn:
            more = {"tried": tried} if tried else {}
            return ModelTurn(tenant_id=self._tenant_id, run_id=self._run_id, step=self._step, **turn, **more)

        return await self._attempts.call_model(self._plan, attempt)

    async def _has_words(self) -> bool:
        if self._given is not None and not self._messages:
            # The reply did not end the row, so a message is committed whose signal has not arrived yet.
            await self._messages.late(self._ref())
        return bool(self._messages)

    async def _permits(self, outcome: ModelOutcome) -> tuple[Permit, ...]:
        if outcome.permits is not None:
            return outcome.permits
        # `call_model` could not authorize the calls, or the history is from before 2026-11, when it never did.
        ref = StepRef(tenant_id=self._tenant_id, run_id=self._run_id, step=self._step)
        return (await self._waits.run_row("authorize", ref, Permits)).calls

    async def _act(self, outcome: ModelOutcome) -> None:
        calls = [asyncio.create_task(self._call(permit)) for permit in await self._permits(outcome)]
        try:
            await asyncio.gather(*calls)
        except (asyncio.CancelledError, FailureError):
            # No tool call may outlive the run, so the others are cancelled and awaited.
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            raise

    async def _call(self, permit: Permit) -> None:
        stop_if_cancelled()
        request_id = None
        if permit.approval:
            request_id = effect_id(self._run_id, self._step, permit.call)
            if not await self._approved(permit, request_id):
                await self._waits.run_row("record_denial", self._turn(permit, request_id=request_id), ToolOutcome)
                return
        if permit.asks and workflow.patched(ANSWERED_BY_ROW):
            outcome = await self._ask_person(permit, request_id)
        else:
            messages = await self._answer(permit) if permit.asks else ()
            await self._while_paused()
            outcome = await self._attempts.run_tool(
                permit, self._turn(permit, request_id=request_id, messages=messages)
            )
        if outcome.todo is not None:
            self._todo = outcome.todo
            self._describe()

    async def _approved(self, permit: Permit, request_id: str) -> bool:
        what = f"approval of {permit.tool}"
        await self._waits.hold(what)
        asked = ApprovalInput(
            tenant_id=self._tenant_id, request_id=request_id, run_id=self._run_id, step=self._step, call=permit.call
        )
        approved = await self._approvals.decided(asked, self._plan, permit.tool)
        await self._waits.release(what)
        return approved

    async def _ask_person(self, permit: Permit, request_id: str | None) -> ToolOutcome:
        async def run(messages: tuple[str, ...]) -> ToolOutcome:
            # A quick tool only reads the answer; otherwise a paused run would show an answered question as open.
            if not permit.quick:
                await self._while_paused()
            return await self._attempts.run_tool(
                permit, self._turn(permit, request_id=request_id, messages=messages, by_row=True)
            )

        return await self._messages.answered(question_id(self._step, permit.call), self._plan.answer_seconds, run)

    async def _answer(self, permit: Permit) -> tuple[str, ...]:
        if not workflow.patched(ANSWERED_BY_ID):
            return await self._any_words()
        question = question_id(self._step, permit.call)
        self._questions.put(question)
        await self._waits.hold(ANSWER)
        with suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: bool(self._questions.sent(question)), timeout=self._plan.answer_seconds
            )
        answer = self._questions.close(question)
        await self._waits.release(ANSWER)
        return answer

    async def _any_words(self) -> tuple[str, ...]:
        async with self._asking:
            await self._waits.hold(ANSWER)
            with suppress(asyncio.TimeoutError):
                await workflow.wait_condition(lambda: bool(self._messages), timeout=self._plan.answer_seconds)
            await self._waits.release(ANSWER)
            return self._messages.take()

    async def _until_cancelled(self, error: FailureError) -> None:
        # The row is marked before the request is sent; should its sender die, a sweeper sends it again.
        if is_refusal(error, RUN_CANCELLED):
            stop_if_cancelled()
            await workflow.wait_condition(lambda: False)

    async def _until_budget(self, error: FailureError) -> None:
        await self._budgets.until_raised(error, self._step, self._plan)

    async def _while_paused(self) -> None:
        while self._paused:
            # Nothing else would wake a run that waits here with a cancellation that an activity has taken.
            stop_if_cancelled()
            await self._waits.hold(PAUSE)
            await workflow.wait_condition(lambda: not self._paused)
            await self._waits.release(PAUSE)

    async def _continue_as_new(self) -> None:
        if not workflow.info().is_continue_as_new_suggested():
            return
        await self._waits.run_row("record_usage", self._ref())
        await self._read_new_limits()
        # A handler that is cut off by continue-as-new would lose its signal.
        await workflow.wait_condition(workflow.all_handlers_finished)
        # The next part has no cancellation of its own.
        stop_if_cancelled()
        carried = Carried(
            step=self._step,
            tokens=self._tokens,
            worked_seconds=self._worked.carried(),
            part=self._part + 1,
            todo=self._todo,
            paused=self._paused,
            **self._messages.carried(),
        )
        given: dict[str, Any] = {} if self._given is None else {"plan": self._given}
        workflow.continue_as_new(RunInput(tenant_id=self._tenant_id, run_id=self._run_id, carried=carried, **given))

    async def _finish(self, end: RunEnd) -> str:
        finishing = asyncio.create_task(self._write_end(end))
        try:
            return await asyncio.shield(finishing)
        except asyncio.CancelledError:
            # A cancellation at this moment comes too late: the end is decided, and the row must record it.
            return await finishing

    async def _write_end(self, end: RunEnd) -> str:
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._waits.end(end.status)
        status = end.status if self._row_ended else await self._end_row(end)
        await self._waits.record_usage()
        self._waits.mark(status, None)
        self._describe()
        return status

    async def _end_row(self, end: RunEnd) -> str:
        # No result where the row says the same, and in histories from before 2026-12.
        ended: RunEnded | None = await self._waits.run_row("finish_run", end, RunEnded)
        if ended is None:
            return end.status
        self._waits.end(ended.status)
        return ended.status

    def _failed(self, error: BaseException) -> RunEnd:
        code, message = last_failure(error)
        return self._end("failed", error_code=code, error_message=message)

    def _used_up(self, error: FailureError) -> RunEnd | None:
        if is_refusal(error, TOKENS_USED_UP):
            return self._incomplete(StopReason.MAX_TOKENS)
        if is_refusal(error, TIME_USED_UP):
            return self._incomplete(StopReason.MAX_SECONDS)
        if not is_refusal(error, BUDGET_REFUSED):
            return None
        why = {"error_code": BUDGET_EXCEEDED, "error_message": last_failure(error)[1]}
        return self._incomplete(StopReason.BUDGET, **why)

    def _incomplete(self, reached: StopReason, **why: str) -> RunEnd:
        return self._end("incomplete", stop_reason=reached.value, **why)

    def _end(self, status: _Final, **why: str) -> RunEnd:
        return RunEnd(tenant_id=self._tenant_id, run_id=self._run_id, status=status, **why)

    def _ref(self) -> RunRef:
        return RunRef(tenant_id=self._tenant_id, run_id=self._run_id)

    def _turn(
        self, permit: Permit, *, request_id: str | None, messages: tuple[str, ...] = (), by_row: bool = False
    ) -> ToolTurn:
        more: dict[str, Any] = {"words": messages} if messages else {}
        if by_row:
            more["by_row"] = True
        if request_id is not None:
            more["request_id"] = request_id
        return ToolTurn(tenant_id=self._tenant_id, run_id=self._run_id, step=self._step, call=permit.call, **more)

    def _describe(self) -> None:
        todo = TodoList.of(self._todo).markdown(escaped)
        workflow.set_current_details(f"{self._waits} · step {self._step} · {self._tokens} tokens\n\n{todo}")
