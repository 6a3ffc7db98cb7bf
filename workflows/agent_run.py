"""A run: the agent thinks, acts and observes, until it answers or something stops it."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError, FailureError, is_cancelled_exception

from workflows.approval import ApprovalWorkflow
from workflows.runtime.activity_calls import (
    MARGIN,
    MODEL_PATIENCE,
    call_model,
    is_refusal,
    last_failure,
    ran_out,
    run_local,
    run_tool,
)
from workflows.runtime.markdown import escaped, summary
from workflows.runtime.search_attributes import AGENT, APPROVAL_TYPE, STATUS, TENANT, USER, WAITING_FOR, value

with workflow.unsafe.imports_passed_through():
    from temporalio.common import SearchAttributePair, TypedSearchAttributes

    from models.messages.approvals import ApprovalInput, CloseRequest
    from models.messages.frame import RunRef
    from models.messages.runs import (
        Carried,
        ModelOutcome,
        ModelTurn,
        Permit,
        Permits,
        RunEnd,
        RunInput,
        RunNote,
        RunPlan,
        RunProgress,
        StepRef,
        ToolOutcome,
        ToolTurn,
    )
    from taskforce.core.domain.approvals.approval import workflow_id as approval_workflow_id
    from taskforce.core.domain.ids import effect_id, is_id
    from taskforce.core.domain.runs.run import TOKENS_USED_UP, Limits, StopReason
    from taskforce.core.domain.runs.todo import TodoList
    from workflows.runtime.payload_converter import is_readable

PAUSE = "pause"
MOST_WORDS = 1_000
LATE_WORD = timedelta(seconds=10)
# 2026-11: runs that began without the status attribute set it only for what Temporal's own status does not tell.
SAYS_MORE = frozenset({"waiting", "paused", "incomplete"})

_Open = Literal["running", "waiting", "paused"]
_Final = Literal["completed", "incomplete", "failed", "cancelled"]


@workflow.defn(name="AgentRun")
class AgentRun:
    """One run, from its mission to its end."""

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
        self._worked_before = carried.worked_seconds
        self._todo = carried.todo
        self._words = list(carried.words)
        # Ids are counted once: a signal may come twice, the second time when the model has heard the word already.
        self._told_before = carried.told - len(carried.words)
        self._told_of = set(carried.words)
        self._paused = carried.paused
        self._has_new_limits = False
        self._status: str = "running"
        self._row_ended = False
        self._waiting_for: str | None = None
        self._holds: list[str] = []
        self._held_since = workflow.now()
        self._held = timedelta()
        begun_with = workflow.info().typed_search_attributes
        self._marks_always = begun_with.get(STATUS) is not None
        self._marked: tuple[str | None, str | None] = (None, begun_with.get(WAITING_FOR))
        self._asking = asyncio.Lock()
        self._noting = asyncio.Lock()

    @workflow.run
    async def run(self, start: RunInput) -> str:
        """Works until the run has ended; returns its status."""
        try:
            self._plan = self._given if self._given is not None else await run_local("begin_run", self._ref(), RunPlan)
            end = await self._work()
        except (asyncio.CancelledError, FailureError) as error:
            end = self._end("cancelled") if is_cancelled_exception(error) else self._failed(error)
            await self._finish(end)
            if end.status == "cancelled":
                raise
            raise ApplicationError(
                end.error_message or "", type=end.error_code or "internal", non_retryable=True
            ) from None
        await self._finish(end)
        return end.status

    @workflow.signal
    def pause(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Stops the run before its next step."""
        self._paused |= is_readable(payload)

    @workflow.signal
    def resume(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Lets a paused run go on."""
        self._paused &= not is_readable(payload)

    @workflow.signal
    def limits_raised(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Tells the run that its row lets it use more, before its next step."""
        self._has_new_limits |= is_readable(payload)

    @workflow.signal
    def add_word(self, *word_id: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Tells the run that a person has added a word; the word itself is a row."""
        word = word_id[0] if len(word_id) == 1 else None
        if isinstance(word, str) and is_id(word) and word not in self._words and len(self._words) < MOST_WORDS:
            self._words.append(word)
            self._told_of.add(word)

    @workflow.query
    def progress(self) -> RunProgress:
        """What the run is doing."""
        return RunProgress(
            status=self._status, step=self._step, tokens=self._tokens, waiting_for=self._waiting_for, todo=self._todo
        )

    async def _work(self) -> RunEnd:
        while True:
            await self._while_paused()
            await self._read_new_limits()
            limits = Limits(self._plan.max_steps, self._plan.max_tokens, self._plan.max_seconds)
            reached = limits.reached(self._step, self._tokens, self._worked())
            if reached in {StopReason.MAX_TOKENS, StopReason.MAX_SECONDS}:
                return self._incomplete(reached)
            left = self._left()
            try:
                if reached is StopReason.MAX_STEPS:
                    await self._think(closing=True)
                    return self._incomplete(reached)
                answered = await self._take_step()
            except FailureError as error:
                if is_refusal(error, TOKENS_USED_UP):
                    return self._incomplete(StopReason.MAX_TOKENS)
                if ran_out(error) and left <= MODEL_PATIENCE:
                    return self._incomplete(StopReason.MAX_SECONDS)
                raise
            # A word that came while the model was answering is heard before the run ends.
            if self._row_ended or (answered and not await self._has_words()):
                return self._end("completed")
            await self._continue_as_new()

    async def _read_new_limits(self) -> None:
        while self._has_new_limits:
            self._has_new_limits = False
            self._plan = await run_local("read_plan", self._ref(), RunPlan)
            self._given = None if self._given is None else self._plan

    async def _take_step(self) -> bool:
        outcome = await self._think()
        if outcome.calls:
            await self._while_paused()
            await self._act(outcome)
        return not outcome.calls

    async def _think(self, *, closing: bool = False) -> ModelOutcome:
        self._step += 1
        self._describe()
        words, self._words = tuple(self._words), []
        turn: dict[str, Any] = {"words": words} if words else {}
        if closing:
            turn["closing"] = True
        if self._given is not None:
            turn["told"] = self._told()
        asked = ModelTurn(tenant_id=self._tenant_id, run_id=self._run_id, step=self._step, **turn)
        outcome = await call_model(asked, ModelOutcome, self._left())
        self._tokens += outcome.tokens
        self._row_ended = outcome.ended
        return outcome

    async def _has_words(self) -> bool:
        if self._given is not None and not self._words:
            # The row has stayed open for a word that is stored, and of which the run is about to be told.
            with suppress(asyncio.TimeoutError):
                await workflow.wait_condition(lambda: bool(self._words), timeout=LATE_WORD)
        return bool(self._words)

    def _told(self) -> int:
        return self._told_before + len(self._told_of)

    async def _permits(self, outcome: ModelOutcome) -> tuple[Permit, ...]:
        if outcome.permits is not None:
            return outcome.permits
        # The calls could not be checked with the reply, or the reply is from before 2026-11, when that was done apart.
        ref = StepRef(tenant_id=self._tenant_id, run_id=self._run_id, step=self._step)
        return (await run_local("authorize", ref, Permits, patience=self._left())).calls

    async def _act(self, outcome: ModelOutcome) -> None:
        calls = [asyncio.create_task(self._call(permit)) for permit in await self._permits(outcome)]
        try:
            await asyncio.gather(*calls)
        except (asyncio.CancelledError, FailureError):
            # Nothing of the step goes on beside the run's end.
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            raise

    async def _call(self, permit: Permit) -> None:
        request_id = None
        if permit.approval:
            request_id = effect_id(self._run_id, self._step, permit.call)
            if not await self._approved(permit, request_id):
                await run_local("record_denial", self._turn(permit, request_id=request_id), ToolOutcome)
                return
        words = await self._answer() if permit.asks else ()
        await self._while_paused()
        outcome = await self._run_tool(permit, self._turn(permit, request_id=request_id, words=words))
        if outcome.todo is not None:
            self._todo = outcome.todo
            self._describe()

    async def _run_tool(self, permit: Permit, turn: ToolTurn) -> ToolOutcome:
        time = timedelta(seconds=permit.seconds) + MARGIN
        if permit.quick:
            return await run_local("run_tool", turn, ToolOutcome, patience=self._left())
        return await run_tool(turn, ToolOutcome, permit.tool, time, self._left())

    async def _approved(self, permit: Permit, request_id: str) -> bool:
        what = f"approval of {permit.tool}"
        await self._hold(what)
        approved = await self._decided(permit, request_id)
        await self._release(what)
        return approved

    async def _decided(self, permit: Permit, request_id: str) -> bool:
        asked = ApprovalInput(
            tenant_id=self._tenant_id, request_id=request_id, run_id=self._run_id, step=self._step, call=permit.call
        )
        try:
            outcome = await workflow.execute_child_workflow(
                ApprovalWorkflow.run,
                asked,
                id=approval_workflow_id(self._tenant_id, request_id),
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                search_attributes=self._attributes_of_approval(),
                static_summary=summary(f"{permit.tool}, asked by {self._plan.user_id}"),
            )
            return outcome.status == "approved"
        except ChildWorkflowError as error:
            if workflow.cancellation_reason() is not None:
                raise asyncio.CancelledError from error
            # An operator ended the question itself: nobody has approved.
            await run_local("close_request", self._withdrawn(request_id))
            return False

    async def _answer(self) -> tuple[str, ...]:
        what = "an answer from a person"
        async with self._asking:
            await self._hold(what)
            with suppress(asyncio.TimeoutError):
                await workflow.wait_condition(lambda: bool(self._words), timeout=self._plan.answer_seconds)
            await self._release(what)
            words, self._words = tuple(self._words), []
            return words

    async def _while_paused(self) -> None:
        while self._paused:
            await self._hold(PAUSE)
            await workflow.wait_condition(lambda: not self._paused)
            await self._release(PAUSE)

    async def _hold(self, what: str) -> None:
        # Time in which a person has the word is not time that the run works.
        if not self._holds:
            self._held_since = workflow.now()
        self._holds.append(what)
        await self._note()

    async def _release(self, what: str) -> None:
        self._holds.remove(what)
        if not self._holds:
            self._held += workflow.now() - self._held_since
        await self._note()

    async def _note(self) -> None:
        async with self._noting:
            waits = [what for what in self._holds if what != PAUSE]
            waiting_for = waits[0] if waits else None
            status: _Open = "paused" if len(waits) < len(self._holds) else "waiting" if waits else "running"
            if (status, waiting_for) == (self._status, self._waiting_for):
                return
            self._status, self._waiting_for = status, waiting_for
            self._describe()
            self._mark(status, waiting_for)
            note = RunNote(tenant_id=self._tenant_id, run_id=self._run_id, status=status, waiting_for=waiting_for)
            await run_local("note_status", note)

    async def _continue_as_new(self) -> None:
        if not workflow.info().is_continue_as_new_suggested():
            return
        await run_local("record_usage", self._ref())
        await self._read_new_limits()
        await workflow.wait_condition(workflow.all_handlers_finished)
        carried = Carried(
            step=self._step,
            tokens=self._tokens,
            worked_seconds=self._worked(),
            part=self._part + 1,
            todo=self._todo,
            words=tuple(self._words),
            paused=self._paused,
            told=self._told(),
        )
        given: dict[str, Any] = {} if self._given is None else {"plan": self._given}
        workflow.continue_as_new(RunInput(tenant_id=self._tenant_id, run_id=self._run_id, carried=carried, **given))

    async def _finish(self, end: RunEnd) -> None:
        finishing = asyncio.create_task(self._write_end(end))
        try:
            await asyncio.shield(finishing)
        except asyncio.CancelledError:
            # The run has ended already; its row must say so.
            await finishing

    async def _write_end(self, end: RunEnd) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._status, self._waiting_for = end.status, None
        if not self._row_ended:
            await run_local("finish_run", end)
        self._mark(end.status, None)
        self._describe()

    def _mark(self, status: str, waiting_for: str | None) -> None:
        said = status if self._marks_always or status in SAYS_MORE else None
        if self._marks_always or (said, waiting_for) != self._marked:
            self._marked = (said, waiting_for)
            workflow.upsert_search_attributes([value(STATUS, said), value(WAITING_FOR, waiting_for)])

    def _failed(self, error: BaseException) -> RunEnd:
        code, message = last_failure(error)
        return self._end("failed", error_code=code, error_message=message)

    def _incomplete(self, reached: StopReason) -> RunEnd:
        return self._end("incomplete", stop_reason=reached.value)

    def _end(self, status: _Final, **why: str) -> RunEnd:
        return RunEnd(tenant_id=self._tenant_id, run_id=self._run_id, status=status, **why)

    def _ref(self) -> RunRef:
        return RunRef(tenant_id=self._tenant_id, run_id=self._run_id)

    def _turn(self, permit: Permit, *, request_id: str | None, words: tuple[str, ...] = ()) -> ToolTurn:
        more: dict[str, Any] = {"words": words} if words else {}
        if request_id is not None:
            more["request_id"] = request_id
        return ToolTurn(tenant_id=self._tenant_id, run_id=self._run_id, step=self._step, call=permit.call, **more)

    def _withdrawn(self, request_id: str) -> CloseRequest:
        return CloseRequest(
            tenant_id=self._tenant_id, request_id=request_id, status="withdrawn", reason="an operator ended the request"
        )

    def _attributes_of_approval(self) -> TypedSearchAttributes:
        plan = self._plan
        values = {TENANT: self._tenant_id, AGENT: plan.agent_id, USER: plan.user_id, APPROVAL_TYPE: "tool_call"}
        return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in values.items()])

    def _worked(self) -> float:
        since = workflow.now() - workflow.info().start_time - self._held
        if self._holds:
            since -= workflow.now() - self._held_since
        return self._worked_before + since.total_seconds()

    def _left(self) -> timedelta:
        return timedelta(seconds=max(self._plan.max_seconds - self._worked(), 1))

    def _describe(self) -> None:
        todo = TodoList.of(self._todo).markdown(escaped)
        waiting = f", waiting for {escaped(self._waiting_for)}" if self._waiting_for else ""
        workflow.set_current_details(
            f"**{self._status}**{waiting} · step {self._step} · {self._tokens} tokens\n\n{todo}"
        )
