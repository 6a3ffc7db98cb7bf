"""The workflow of a request for approval."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

from workflows.approval_details import Subject, carried, described, restored, subject
from workflows.approval_messages import (
    Ways,
    cancellation_text,
    change_record,
    decision_check,
    decision_record,
    refused_decision,
    rejection,
    represented,
    require_change,
    require_decision,
    terms_of,
    way_of,
)
from workflows.runtime.activity_calls import (
    DECISION_PATIENCE,
    STICKY_CANCEL,
    failure_kind,
    last_failure,
    refusal,
    run_local,
    run_regular,
    stop_if_cancelled,
)
from workflows.runtime.markdown import escaped
from workflows.runtime.search_attributes import APPROVAL_STATUS, APPROVAL_TYPE, STATUS

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from models.messages.approvals import (
        ApprovalInput,
        ApprovalOutcome,
        ApprovalState,
        CarriedOut,
        ChangeInput,
        CloseRequest,
        DecisionGround,
        DecisionInput,
        DecisionOutcome,
        OpenedRequest,
        RequestRef,
        TimedRecord,
    )
    from taskforce.core.domain.approvals.approval import (
        MAX_COMMENT,
        Approval,
        ApprovalStatus,
        Channel,
        Decision,
        Verdict,
    )
    from taskforce.core.domain.approvals.terms import Deciders, TimedAction
    from taskforce.core.domain.errors import Conflict, DomainError, Kind
    from workflows.runtime.payload_converter import is_readable

SUBJECT_CHANGED = "subject_changed"
CANCEL_INTERRUPTS = "cancel-interrupts-handlers"
"""2026-12: a cancellation interrupts handlers; before, it waited for a decision whose activity was retried."""
AUDITS_UNREADABLE = "unreadable-signals-audited"
"""2026-12: an undecodable signal is audited; before, it was dropped."""
CLOSED_IN_ORDER = "requests-closed-in-order"
"""2026-12: a cancelled request is closed by an activity that is history before it is a row. Before, it could be closed
by a task that failed because more news had arrived, and that decided otherwise when it was repeated with them."""
ACT_AGAIN = timedelta(minutes=1)
CARRY_TIME = timedelta(hours=24)
_ENDED = DecisionOutcome(
    status="withdrawn", code="request_closed", message="The request has ended.", kind=Kind.CONFLICT.value
)


@workflow.defn(name="Approval")
class ApprovalWorkflow:
    """A request for approval: waits for decisions until it is closed, and executes it when approved."""

    @workflow.init
    def __init__(self, start: ApprovalInput) -> None:
        self._start = start
        self._subject = Subject()
        self._carries_out = False
        self._lasting = False
        self._hears_late = False
        self._approval: Approval | None = None
        self._over = False
        self._deciding = asyncio.Lock()
        self._handling: list[asyncio.Task[Any]] = []
        self._unsure = set(start.carried.unsure if start.carried is not None else ())

    @workflow.run
    async def run(self, start: ApprovalInput) -> ApprovalOutcome:
        """Opens the request, waits for decisions, closes it, and executes it when approved."""
        try:
            outcome = await self._lifecycle(start)
        except (asyncio.CancelledError, FailureError):
            await self._handlers_end()
            raise
        await self._handlers_end()
        return outcome

    async def _handlers_end(self) -> None:
        if self._hears_late:
            # A decision that arrived after the end still gets its refusal; a closed workflow would drop it.
            await workflow.wait_condition(workflow.all_handlers_finished)

    async def _lifecycle(self, start: ApprovalInput) -> ApprovalOutcome:
        try:
            self._open(await run_local("open_request", start, OpenedRequest))
            await self._wait()
            status = await self._settled()
        except (asyncio.CancelledError, FailureError) as error:
            if not is_cancelled_exception(error):
                raise
            self._interrupt()
            await self._close_cancelled(cancellation_text(start, workflow.cancellation_reason()))
            raise
        # Closed first: whatever the execution takes, the decision is on record.
        outcome = await self._conclude(status)
        stop_if_cancelled()
        await self._carry_out(outcome)
        return outcome

    @workflow.update
    async def decide(self, decision: DecisionInput) -> DecisionOutcome:
        """Receives a decision of the gateway; the outcome's `code` is set when it is refused."""
        return await self._decide(decision, "api")

    @decide.validator
    def _decidable(self, decision: DecisionInput) -> None:
        # A refusal by the validator writes nothing to the history. A validator may read state only, never await.
        try:
            require_decision(decision)
            if self._approval is not None:
                self._approval.check(decision.approver_id, Channel.API, workflow.now())
                self._approval.check_comment(decision.comment, decision.seen)
        except DomainError as refused:
            raise rejection(refused) from None

    @workflow.signal
    async def approve(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Receives an approval from the Temporal UI or CLI: `{"approver": "...", "comment": "..."}`."""
        await self._signalled("approve", payload)

    @workflow.signal
    async def reject(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Receives a rejection from the Temporal UI or CLI: `{"approver": "...", "comment": "..."}`."""
        await self._signalled("reject", payload)

    @workflow.query
    def state(self) -> ApprovalState:
        """Returns the request's status, deciders and expiry."""
        approval = self._approval
        if approval is None:
            return ApprovalState(status="opening", title="", requester_id="")
        return ApprovalState(
            status=approval.status(workflow.now()).value,
            title=self._subject.title,
            requester_id=approval.requester_id,
            decided_by=tuple(decision.approver_id for decision in approval.decisions),
            expires_at=approval.expires_at,
            may_decide=str(approval.who),
        )

    @workflow.update
    async def change(self, change: ChangeInput) -> DecisionOutcome:
        """Withdraws or reassigns the request; the outcome's `code` is set when that is refused."""
        await workflow.wait_condition(self._is_open_or_over)
        # One decision or change at a time: two that were checked against the same state could not both count.
        async with self._deciding:
            if self._over:
                return _ENDED
            now = workflow.now()
            try:
                changed = self._changed(change, now)
                with self._interruptible():
                    await self._keep("record_change", change_record(self._start, change, now))
            except (DomainError, FailureError) as error:
                return self._refusal(error)
            self._approval = changed
            self._describe()
            return DecisionOutcome(status=changed.status(now).value)

    @change.validator
    def _changeable(self, change: ChangeInput) -> None:
        try:
            require_change(change)
            if self._approval is not None:
                self._changed(change, workflow.now())
        except DomainError as refused:
            raise rejection(refused) from None

    def _changed(self, change: ChangeInput, now: datetime) -> Approval:
        if change.kind == "withdraw":
            return self._current().withdraw(now, change.actor_id, change.comment)
        return self._current().reassign(Deciders(change.roles, change.people), now)

    def _open(self, opened: OpenedRequest) -> None:
        self._subject = subject(self._start, opened)
        self._carries_out, self._lasting = opened.carries_out, bool(opened.content)
        self._hears_late = opened.hears_late
        self._approval = Approval(
            self._start.request_id, opened.requester_id, terms_of(opened), opened.opened_at, content=opened.content
        )
        if self._start.carried is not None:
            self._approval = restored(self._approval, self._start.carried)
        workflow.upsert_search_attributes(
            [
                APPROVAL_TYPE.value_set(opened.request_type),
                APPROVAL_STATUS.value_set("pending"),
                STATUS.value_set("waiting"),
            ]
        )
        self._describe()

    async def _wait(self) -> None:
        """Waits until the request is decided or expired, and performs timed actions when due."""
        while not self._is_decided():
            if self._is_long():
                await self._continue_as_new()
                continue
            coming = self._current().next_action
            left = max((self._current().next_at() - workflow.now()).total_seconds(), 0)
            summary = "the request expires" if coming is None else coming.kind.value
            try:
                await workflow.wait_condition(self._moved_on(coming), timeout=left, timeout_summary=summary)
            except TimeoutError:
                # A decision whose check began before the timer fired is completed first: it was made in time.
                async with self._deciding:
                    acted = await self._act()
                if not acted:
                    with suppress(asyncio.TimeoutError):
                        await workflow.wait_condition(self._is_decided, timeout=ACT_AGAIN)

    async def _settled(self) -> ApprovalStatus:
        # The request may expire while a decision that was made in time is being recorded: that is completed first.
        async with self._deciding:
            return self._current().status(workflow.now())

    def _moved_on(self, coming: TimedAction | None) -> Callable[[], bool]:
        return lambda: self._is_decided() or self._is_long() or self._current().next_action is not coming

    def _is_long(self) -> bool:
        return self._lasting and workflow.info().is_continue_as_new_suggested()

    async def _continue_as_new(self) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        # A handler that was awaited here may have decided the request.
        if not self._is_decided():
            handed = carried(self._current())
            if self._unsure:
                handed = handed.model_copy(update={"unsure": tuple(sorted(self._unsure))})
            workflow.continue_as_new(self._start.model_copy(update={"carried": handed}))

    async def _act(self) -> bool:
        """Performs the due action; False when its activity failed, so that decisions are possible before the retry."""
        approval, now = self._current(), workflow.now()
        if approval.next_action is None or approval.status(now) is not ApprovalStatus.PENDING:
            return True
        due = TimedRecord(
            tenant_id=self._start.tenant_id,
            request_id=self._start.request_id,
            number=approval.acted,
            at=approval.next_at(),
        )
        try:
            await self._keep("act_on_request", due)
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("action.failed", extra={"code": last_failure(error)[0]})
            return False
        self._approval = approval.act(now)
        self._describe()
        return True

    async def _decide(self, decision: DecisionInput, channel: Ways) -> DecisionOutcome:
        await workflow.wait_condition(self._is_open_or_over)
        async with self._deciding:
            if self._over:
                return await self._too_late(decision, channel)
            try:
                with self._interruptible():
                    self._current().check(decision.approver_id, Channel(channel), workflow.now())
                    lasting = self._lasting and decision.approver_id not in self._unsure
                    check = decision_check(self._start, decision, channel, lasting=lasting)
                    ground = await run_local("authorize_decision", check, DecisionGround, patience=DECISION_PATIENCE)
                    await self._count(decision, way_of(channel, ground), represented(ground))
            except Conflict as conflict:
                await self._refuse(decision, channel, conflict.code)
                return self._refusal(conflict)
            except FailureError as error:
                return self._refusal(error)
            return DecisionOutcome(status=self._current().status(workflow.now()).value)

    async def _count(self, said: DecisionInput, channel: Ways, behalf: str | None) -> None:
        now = workflow.now()
        verdict, comment = Verdict(said.verdict), said.comment[:MAX_COMMENT]
        decision = Decision(said.approver_id, verdict, comment, Channel(channel), now, behalf, said.edit)
        decided = self._current().decide(decision, said.seen)
        try:
            await self._keep("record_decision", decision_record(self._start, said, decision, decided.content))
        except FailureError as error:
            if refusal(error) is None:
                # The write may have been committed nevertheless. It does not count here, so the approver may decide
                # again.
                self._unsure.add(said.approver_id)
            raise
        self._approval = decided
        self._describe()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Lets a cancellation of the request interrupt the handler that runs the block."""
        task = asyncio.current_task()
        assert task is not None
        self._handling.append(task)
        try:
            yield
        except (asyncio.CancelledError, FailureError) as error:
            if not is_cancelled_exception(error):
                raise
            raise ApplicationError(str(_ENDED.message), _ENDED.kind, type=_ENDED.code, non_retryable=True) from None
        finally:
            self._handling.remove(task)

    def _interrupt(self) -> None:
        # Set before any wait, so that no further decision is begun.
        self._over = True
        if self._handling and workflow.patched(CANCEL_INTERRUPTS):
            for task in self._handling:
                task.cancel()

    async def _keep(self, activity: str, record: BaseModel) -> None:
        """Records a decision, change or action that counts.

        Runs as a regular activity: it is scheduled by a workflow task that has completed, so that a decision and its
        order are history before they are a row. A local activity is repeated, perhaps after other messages, when its
        task fails because more arrived. Requests that began before 2026-11, whose history holds no content hash, keep
        to local activities.
        """
        if self._lasting:
            await run_regular(activity, record, patience=DECISION_PATIENCE)
        else:
            await run_local(activity, record, patience=DECISION_PATIENCE)

    def _refusal(self, error: DomainError | FailureError) -> DecisionOutcome:
        if isinstance(error, DomainError):
            return self._refused(error.code, error.message, error.kind.value)
        code, message = last_failure(error)
        if code == SUBJECT_CHANGED and not self._is_decided():
            self._approval = self._current().void(workflow.now(), message)
        return self._refused(code, message, failure_kind(error))

    async def _signalled(self, verdict: Literal["approve", "reject"], payload: tuple[Any, ...]) -> None:
        if not is_readable(payload) and not workflow.patched(AUDITS_UNREADABLE):
            return
        said = payload[0] if len(payload) == 1 else None
        approver = said.get("approver") if isinstance(said, Mapping) else None
        comment = said.get("comment", "") if isinstance(said, Mapping) else ""
        await workflow.wait_condition(self._is_open_or_over)
        if not isinstance(approver, str) or not approver or not isinstance(comment, str):
            unknown = DecisionInput(approver_id="unknown", verdict=verdict)
            await self._refuse(unknown, "signal", "signal_malformed")
            return
        # Signals come from anybody who reaches Temporal, so their size is bounded here.
        await self._decide(DecisionInput(approver_id=approver[:200], verdict=verdict, comment=comment), "signal")

    async def _too_late(self, decision: DecisionInput, channel: Ways) -> DecisionOutcome:
        # Histories before 2026-11-25 record no `hears_late` and audit nothing after the end.
        if self._hears_late:
            await self._refuse(decision, channel, "request_closed")
        return _ENDED

    async def _refuse(self, decision: DecisionInput, channel: Ways, code: str) -> None:
        refused = refused_decision(self._start, decision, channel, code)
        try:
            with self._interruptible():
                await run_local("refuse_decision", refused, patience=DECISION_PATIENCE)
        except FailureError as error:
            # Anybody may send a signal, so a failure to audit one must not fail the workflow.
            workflow.logger.warning("decision.not_audited", extra={"code": last_failure(error)[0]})

    async def _conclude(self, status: ApprovalStatus) -> ApprovalOutcome:
        # Before the task begins: whoever waits for the lock runs first, and is too late.
        self._over = True
        closing = asyncio.create_task(self._close(status))
        try:
            return await asyncio.shield(closing)
        except asyncio.CancelledError:
            # Too late for the decision, which the row must record; what it allows has not begun and does not begin.
            if not workflow.patched(STICKY_CANCEL):
                closing.cancel()
            return await closing

    async def _close_cancelled(self, why: str) -> None:
        if not workflow.patched(CLOSED_IN_ORDER):
            await self._close(ApprovalStatus.WITHDRAWN, why)
            return
        await workflow.wait_condition(workflow.all_handlers_finished)
        # A decision that came with the cancellation counts, for its approver is told so; nothing follows from it.
        if self._approval is not None and self._is_decided():
            await self._close(self._approval.status(workflow.now()), close=run_regular)
        else:
            await self._close(ApprovalStatus.WITHDRAWN, why, close=run_regular)

    async def _close(
        self,
        status: ApprovalStatus,
        why: str | None = None,
        close: Callable[[str, CloseRequest], Awaitable[None]] = run_local,
    ) -> ApprovalOutcome:
        self._over = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        asked, now = self._start, workflow.now()
        reason = why or (self._approval.reason(now) if self._approval is not None else "")
        end = CloseRequest.model_validate(
            {"tenant_id": asked.tenant_id, "request_id": asked.request_id, "status": status.value, "reason": reason}
        )
        await close("close_request", end)
        workflow.upsert_search_attributes([APPROVAL_STATUS.value_set(status.value), STATUS.value_set(status.value)])
        workflow.set_current_details(f"**{escaped(self._subject.title)}** was {status.value}. {escaped(reason)}")
        return ApprovalOutcome(status=end.status)

    async def _carry_out(self, outcome: ApprovalOutcome) -> None:
        if not self._carries_out or outcome.status != "approved":
            return
        ref = RequestRef(tenant_id=self._start.tenant_id, request_id=self._start.request_id)
        carried = await run_regular("carry_out_request", ref, CarriedOut, time=CARRY_TIME, summary="what was approved")
        if carried.done:
            workflow.set_current_details(f"**{escaped(self._subject.title)}** was approved. {escaped(carried.done)}")

    def _refused(self, code: str, message: str, kind: str | None) -> DecisionOutcome:
        status = self._current().status(workflow.now()).value
        if kind is None:
            return DecisionOutcome(status=status, code=code, message=message)
        return DecisionOutcome(status=status, code=code, message=message, kind=kind)

    def _current(self) -> Approval:
        assert self._approval is not None
        return self._approval

    def _is_open_or_over(self) -> bool:
        return self._over or self._approval is not None

    def _is_decided(self) -> bool:
        return self._current().status(workflow.now()) is not ApprovalStatus.PENDING

    def _describe(self) -> None:
        workflow.set_current_details(described(self._subject, self._current()))
