"""Requests for approval: opening, who may decide, what was decided, closing."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from taskforce.application.calls import CallRef, call_payload
from taskforce.application.principals import standing
from taskforce.application.publishing import AGENT_PUBLISH, conclude
from taskforce.application.running import Briefs
from taskforce.core.domain.access import AccessRules
from taskforce.core.domain.approvals import Approval, ApprovalStatus, Channel, Decision, content_hash
from taskforce.core.domain.errors import DomainError, Forbidden, Missing
from taskforce.core.domain.ids import missing
from taskforce.core.interfaces.records import Clock, Live, Records, Store
from taskforce.core.interfaces.stored import AuditEvent, Request


@dataclass(frozen=True, slots=True)
class Attempted:
    """Somebody's attempt to decide."""

    tenant_id: str
    request_id: str
    approver_id: str
    channel: Channel


class Deciding:
    """The use cases behind the activities of the `Approval` workflow.

    Args:
        store: The tenants' data.
        briefs: What the runs are about.
        live: Who watches.
        clock: The time.
        rules: What the deployment says about rights.
    """

    def __init__(self, store: Store, briefs: Briefs, live: Live, clock: Clock, rules: AccessRules) -> None:
        self._store = store
        self._briefs = briefs
        self._live = live
        self._clock = clock
        self._rules = rules

    async def open(self, ref: CallRef, request_id: str) -> Request:
        """Commits the request for one tool call, bound to its exact arguments; a second opening returns the first."""
        brief = await self._briefs.get(ref.tenant_id, ref.run_id)
        now = self._clock()
        async with self._store.tenant(ref.tenant_id) as records:
            reply = await records.transcripts.entry(ref.run_id, ref.step, 0)
            if reply is None:
                raise missing("step")
            payload = call_payload(reply.tool_calls[ref.call - 1])
            tool = str(payload["tool"])
            request = Request(
                approval=Approval(request_id, brief.user_id, brief.agent.approval, now),
                run_id=ref.run_id,
                step=ref.step,
                call=ref.call,
                request_type="tool_call",
                resource_type="tool",
                resource_id=tool,
                title=f"{brief.agent.name} wants to call {tool}",
                payload={**payload, "reason": reply.text[:2_000]},
                content_hash=content_hash(payload),
            )
            if not await records.requests.add(request):
                return await _request(records, request_id)
            data = {"request_id": request_id, "step": ref.step, "call": ref.call, "tool": tool}
            await records.events.append(ref.run_id, "approval.requested", data, now)
            await records.audit.append(
                _audit(request, "approval.request", brief.user_id, "pending", None, "worker", now)
            )
        self._live.changed(ref.tenant_id, ref.run_id)
        return request

    async def begin(self, tenant_id: str, request_id: str) -> Request:
        """Marks that a filed request has its workflow, and returns it.

        Raises:
            Missing: `request_not_found`.
        """
        async with self._store.tenant(tenant_id) as records:
            await records.requests.begin(request_id, self._clock())
            return await _request(records, request_id)

    async def authorize(self, attempt: Attempted) -> None:
        """Asks, now, whether this person may decide this request.

        The approver must exist in the tenant, be active, hold an allowed role at this moment, not be the requester and
        not have decided before.

        Raises:
            Forbidden: `approver_unknown` or `approver_role_missing`.
            Conflict: As `Approval.check`.
        """
        now = self._clock()
        async with self._store.tenant(attempt.tenant_id) as records:
            request = await _request(records, attempt.request_id)
            try:
                await self._check(records, request, attempt, now)
                return
            except DomainError as error:
                refused = error
        # A denial's audit row commits by itself, whatever becomes of the caller.
        await self.refuse(attempt, refused.code)
        raise refused

    async def refuse(self, attempt: Attempted, code: str) -> None:
        """Audits a decision that does not count."""
        async with self._store.tenant(attempt.tenant_id) as records:
            request = await _request(records, attempt.request_id)
            who, channel = attempt.approver_id, attempt.channel.value
            await records.audit.append(_audit(request, "approval.decide", who, "denied", code, channel, self._clock()))

    async def record(self, tenant_id: str, request_id: str, decision: Decision) -> None:
        """Records a decision that counts, with its audit row and milestone; a second recording changes nothing."""
        async with self._store.tenant(tenant_id) as records:
            request = await _request(records, request_id)
            if not await records.requests.decided(request_id, decision):
                return
            verdict = decision.verdict.value
            event = _audit(
                request, "approval.decide", decision.approver_id, verdict, None, decision.channel.value, decision.at
            )
            await records.audit.append(event)
            data = {"request_id": request_id, "approver_id": decision.approver_id, "verdict": verdict}
            if request.run_id is not None:
                await records.events.append(request.run_id, "approval.decided", data, decision.at)
        self._tell(request, tenant_id)

    async def close(self, tenant_id: str, request_id: str, status: ApprovalStatus, reason: str) -> None:
        """Ends a request, and does what its end means; its row is the record from now on."""
        now = self._clock()
        async with self._store.tenant(tenant_id) as records:
            request = await _request(records, request_id)
            if await records.requests.close(request_id, status, reason, now):
                data = {"request_id": request_id, "status": status.value, "reason": reason}
                if request.run_id is not None:
                    await records.events.append(request.run_id, "approval.closed", data, now)
                if request.request_type == AGENT_PUBLISH:
                    await conclude(records, request, status, reason, now)
                event = _audit(request, "approval.close", "system", status.value, reason or None, "worker", now)
                await records.audit.append(event)
        self._tell(request, tenant_id)

    async def withdraw(self, tenant_id: str, request_id: str, reason: str) -> None:
        """Ends a request whose workflow is gone; one that has ended, or was never opened, stays as it is."""
        with suppress(Missing):
            await self.close(tenant_id, request_id, ApprovalStatus.WITHDRAWN, reason)

    def _tell(self, request: Request, tenant_id: str) -> None:
        if request.run_id is not None:
            self._live.changed(tenant_id, request.run_id)

    async def _check(self, records: Records, request: Request, attempt: Attempted, now: datetime) -> None:
        request.approval.check(attempt.approver_id, attempt.channel, now)
        try:
            approver = await standing(records, attempt.approver_id, self._rules, now)
        except Forbidden:
            raise Forbidden("approver_unknown", "No active user of that id is known in this tenant.") from None
        if not holds_role(request, approver.roles):
            roles = ", ".join(request.approval.terms.allowed_roles)
            raise Forbidden("approver_role_missing", f"Deciding this request needs one of these roles: {roles}.")


def holds_role(request: Request, roles: frozenset[str]) -> bool:
    """Whether one of the roles decides the request."""
    return not roles.isdisjoint(request.approval.terms.allowed_roles)


def may_decide(request: Request, user_id: str, roles: frozenset[str], now: datetime) -> bool:
    """Whether a decision over HTTP, of somebody who holds these roles now, would count."""
    if request.closed_at is not None or not holds_role(request, roles):
        return False
    try:
        request.approval.check(user_id, Channel.API, now)
    except DomainError:
        return False
    return True


async def _request(records: Records, request_id: str) -> Request:
    request = await records.requests.get(request_id)
    if request is None:
        raise missing("request")
    return request


def _audit(
    request: Request, action: str, actor_id: str, outcome: str, reason: str | None, channel: str, now: datetime
) -> AuditEvent:
    return AuditEvent(
        actor_id=actor_id,
        action=action,
        resource_type="approval",
        resource_id=request.approval.request_id,
        outcome=outcome,
        reason=reason,
        channel=channel,
        at=now,
        details={**_about(request), "content_hash": request.content_hash},
    )


def _about(request: Request) -> dict[str, object]:
    if request.run_id is None:
        return {"request_type": request.request_type, f"{request.resource_type}_id": request.resource_id}
    return {"run_id": request.run_id, "tool": request.resource_id}
