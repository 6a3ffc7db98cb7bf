"""A durable question to people."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

from workflows.attributes import APPROVAL_STATUS, APPROVAL_TYPE, STATUS
from workflows.steps import last_failure, quickly

with workflow.unsafe.imports_passed_through():
    from models.messages.approvals import (
        ApprovalInput,
        ApprovalOutcome,
        ApprovalState,
        CloseRequest,
        DecisionCheck,
        DecisionInput,
        DecisionOutcome,
        DecisionRecord,
        OpenedRequest,
        RefusedDecision,
    )
    from taskforce.core.domain.approvals import (
        MAX_COMMENT,
        Approval,
        ApprovalStatus,
        Channel,
        Decision,
        Terms,
        Verdict,
    )
    from taskforce.core.domain.errors import Conflict

_Ways = Literal["api", "signal"]
_MARKDOWN = re.compile(r"([\\`*_\[\]()<>#|!~])")


@workflow.defn(name="Approval")
class ApprovalWorkflow:
    """Waits until enough people have decided, or time is up."""

    @workflow.init
    def __init__(self, asked: ApprovalInput) -> None:
        self._asked = asked
        self._title = ""
        self._approval: Approval | None = None
        self._over = False
        self._deciding = asyncio.Lock()

    @workflow.run
    async def run(self, asked: ApprovalInput) -> ApprovalOutcome:
        """Opens the request, waits, closes it."""
        try:
            opened = await quickly("open_request", asked, OpenedRequest)
            approval = self._open(opened)
            left = approval.expires_at - workflow.now()
            await self._wait(max(left.total_seconds(), 0))
        except (asyncio.CancelledError, FailureError) as error:
            if not is_cancelled_exception(error):
                raise
            await self._close(ApprovalStatus.WITHDRAWN)
            raise
        return await self._close(self._current().status(workflow.now()))

    @workflow.update
    async def decide(self, decision: DecisionInput) -> DecisionOutcome:
        """Takes an authenticated decision; `code` in the outcome says why it does not count."""
        return await self._decide(decision, "api")

    @decide.validator
    def _decidable(self, decision: DecisionInput) -> None:
        # Refused here, nothing enters the history; workflow state is all that a validator may look at.
        if self._approval is not None:
            try:
                self._approval.check(decision.approver_id, Channel.API, workflow.now())
            except Conflict as conflict:
                raise ApplicationError(conflict.message, type=conflict.code, non_retryable=True) from None

    @workflow.signal
    async def approve(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Approves, from the Temporal UI or CLI: `{"approver": "...", "comment": "..."}`."""
        await self._signalled("approve", payload)

    @workflow.signal
    async def reject(self, *payload: Any) -> None:  # noqa: ANN401 - anything may be sent, nothing may break
        """Rejects, from the Temporal UI or CLI: `{"approver": "...", "comment": "..."}`."""
        await self._signalled("reject", payload)

    @workflow.query
    def state(self) -> ApprovalState:
        """Where the request stands."""
        approval = self._approval
        if approval is None:
            return ApprovalState(status="opening", title="", requester_id="")
        return ApprovalState(
            status=approval.status(workflow.now()).value,
            title=self._title,
            requester_id=approval.requester_id,
            decided_by=tuple(decision.approver_id for decision in approval.decisions),
            expires_at=approval.expires_at,
        )

    def _open(self, opened: OpenedRequest) -> Approval:
        terms = Terms(
            required_approvers=opened.required_approvers,
            rejections_to_close=opened.rejections_to_close,
            allowed_roles=opened.allowed_roles,
            self_approval=opened.self_approval,
            expire_seconds=opened.expire_seconds,
            signal_channel=opened.signal_channel,
        )
        self._title = opened.title
        self._approval = Approval(self._asked.request_id, opened.requester_id, terms, opened.opened_at)
        workflow.upsert_search_attributes(
            [
                APPROVAL_TYPE.value_set(opened.request_type),
                APPROVAL_STATUS.value_set("pending"),
                STATUS.value_set("waiting"),
            ]
        )
        self._describe()
        return self._approval

    async def _wait(self, seconds: float) -> None:
        try:
            await workflow.wait_condition(self._is_decided, timeout=seconds, timeout_summary="the request expires")
        except TimeoutError:
            # A decision that was being checked when the time ran out is heard to its end.
            async with self._deciding:
                pass

    async def _decide(self, decision: DecisionInput, channel: _Ways) -> DecisionOutcome:
        await workflow.wait_condition(self._is_open_or_over)
        async with self._deciding:
            if self._over:
                return DecisionOutcome(status="withdrawn", code="request_closed", message="The request has ended.")
            try:
                self._current().check(decision.approver_id, Channel(channel), workflow.now())
                await quickly("authorize_decision", self._check(decision, channel))
                await self._count(decision, channel)
            except Conflict as conflict:
                await self._refuse(decision.approver_id, channel, conflict.code)
                return self._refused(conflict.code, conflict.message)
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                code, message = last_failure(error)
                return self._refused(code, message)
            return DecisionOutcome(status=self._current().status(workflow.now()).value)

    async def _count(self, said: DecisionInput, channel: _Ways) -> None:
        now = workflow.now()
        comment = said.comment[:MAX_COMMENT]
        decision = Decision(said.approver_id, Verdict(said.verdict), comment, Channel(channel), now)
        decided = self._current().decide(decision)
        made = DecisionRecord(
            tenant_id=self._asked.tenant_id,
            request_id=self._asked.request_id,
            approver_id=said.approver_id,
            channel=channel,
            verdict=said.verdict,
            comment=comment,
            at=now,
        )
        await quickly("record_decision", made)
        self._approval = decided
        self._describe()

    async def _signalled(self, verdict: Literal["approve", "reject"], payload: tuple[Any, ...]) -> None:
        said = payload[0] if len(payload) == 1 else None
        approver = said.get("approver") if isinstance(said, Mapping) else None
        comment = said.get("comment", "") if isinstance(said, Mapping) else ""
        await workflow.wait_condition(self._is_open_or_over)
        if not isinstance(approver, str) or not approver or not isinstance(comment, str):
            await self._refuse("unknown", "signal", "signal_malformed")
            return
        await self._decide(DecisionInput(approver_id=approver[:200], verdict=verdict, comment=comment), "signal")

    async def _refuse(self, approver_id: str, channel: _Ways, code: str) -> None:
        asked = self._asked
        refused = RefusedDecision(
            tenant_id=asked.tenant_id, request_id=asked.request_id, approver_id=approver_id, channel=channel, code=code
        )
        await quickly("refuse_decision", refused)

    async def _close(self, status: ApprovalStatus) -> ApprovalOutcome:
        self._over = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        asked, now = self._asked, workflow.now()
        reason = self._approval.reason(now) if self._approval is not None else ""
        if status is ApprovalStatus.WITHDRAWN:
            reason = "the request was withdrawn" if asked.filed else "the run was cancelled"
        end = CloseRequest.model_validate(
            {"tenant_id": asked.tenant_id, "request_id": asked.request_id, "status": status.value, "reason": reason}
        )
        await quickly("close_request", end)
        workflow.upsert_search_attributes([APPROVAL_STATUS.value_set(status.value), STATUS.value_set(status.value)])
        workflow.set_current_details(f"**{_plain(self._title)}** was {status.value}. {_plain(reason)}")
        return ApprovalOutcome(status=end.status)

    def _check(self, decision: DecisionInput, channel: _Ways) -> DecisionCheck:
        return DecisionCheck(
            tenant_id=self._asked.tenant_id,
            request_id=self._asked.request_id,
            approver_id=decision.approver_id,
            channel=channel,
        )

    def _refused(self, code: str, message: str) -> DecisionOutcome:
        return DecisionOutcome(status=self._current().status(workflow.now()).value, code=code, message=message)

    def _current(self) -> Approval:
        assert self._approval is not None
        return self._approval

    def _is_open_or_over(self) -> bool:
        return self._over or self._approval is not None

    def _is_decided(self) -> bool:
        return self._current().status(workflow.now()) is not ApprovalStatus.PENDING

    def _describe(self) -> None:
        approval = self._current()
        terms = approval.terms
        decided = ", ".join(f"{d.approver_id} ({d.verdict.value})" for d in approval.decisions) or "nobody yet"
        how = "signals count" if terms.signal_channel else "by the API only"
        workflow.set_current_details(
            f"**{_plain(self._title)}**\n\n"
            f"- asked by: {approval.requester_id}\n"
            f"- may decide: {', '.join(terms.allowed_roles)} ({terms.required_approvers} needed; {how})\n"
            f"- decided so far: {decided}\n"
            f"- expires: {approval.expires_at.isoformat(timespec='seconds')}\n\n"
            'Signal `approve` or `reject` with `{"approver": "<user id>", "comment": "..."}`.'
        )


def _plain(text: str) -> str:
    """A text that whoever makes agents or decides has written, without what Markdown would make of it."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
