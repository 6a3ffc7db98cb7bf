"""History of approval requests, with run milestones, webhook deliveries and audit events in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from taskforce.application.events import announce
from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.approvals.parties import Reassignment
from taskforce.core.domain.approvals.records import HistoryEntry, Request
from taskforce.core.domain.approvals.terms import Deciders
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.webhooks.endpoint import WebhookEvent
from taskforce.core.interfaces.metrics import RequestChanged
from taskforce.core.interfaces.store import Records

_ACTIONS: Final[Mapping[str, str]] = {
    "created": "approval.request",
    "approved_by": "approval.decide",
    "rejected_by": "approval.decide",
    "refused": "approval.decide",
    "reminded": "approval.remind",
    "widened": "approval.escalate",
    "reassigned": "approval.reassign",
    "commented": "approval.comment",
    "withdrawn_by": "approval.withdraw",
    "reassignment_refused": "approval.reassign",
    "withdrawal_refused": "approval.withdraw",
    "carried_out": "approval.carry_out",
    "not_carried_out": "approval.carry_out",
    "downloaded": "approval.download",
    "result_erased": "approval.erase_result",
}
REASSIGNED: Final = "reassigned"
"""The kind of a user's reassignment, with whose name the entry's name begins; a timed action has the same kind."""
_REFUSED: Final = frozenset({"refused", "reassignment_refused", "withdrawal_refused"})
_CLOSED: Final = "approval.close"
_VERDICTS: Final[Mapping[str, Verdict]] = {"approved_by": Verdict.APPROVE, "rejected_by": Verdict.REJECT}
_EVENTS: Final[Mapping[str, WebhookEvent]] = {
    "created": WebhookEvent.REQUEST_CREATED,
    **dict.fromkeys(("approved_by", "rejected_by", "reminded", "commented"), WebhookEvent.REQUEST_ACTION),
    **dict.fromkeys(("widened", "reassigned"), WebhookEvent.REQUEST_ESCALATED),
    "approved": WebhookEvent.REQUEST_APPROVED,
    "rejected": WebhookEvent.REQUEST_REJECTED,
    "expired": WebhookEvent.REQUEST_EXPIRED,
    "withdrawn": WebhookEvent.REQUEST_WITHDRAWN,
    "voided": WebhookEvent.REQUEST_VOIDED,
}
_MILESTONES: Final[Mapping[str, str]] = {
    "approval.request": "approval.requested",
    "approval.decide": "approval.decided",
    "approval.escalate": "approval.escalated",
    "approval.reassign": "approval.escalated",
    _CLOSED: "approval.closed",
}


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """An event of a request.

    Attributes:
        kind: The event: `created`, `approved_by`, `reminded`, ..., or the status in which the request was closed.
        actor_id: The user who caused it, or `system`.
        at: The time, UTC.
        name: A name that is unique within the request, so that a retry records it once; None records it each time.
        comment: The comment of the user.
        outcome: The outcome for the audit log.
        reason: The reason for the audit log; for a close, the comment is the reason.
        channel: The channel.
        request_id: The id of the HTTP request, if any.
        key_id: The id of the API key that the user acted by, if any.
        data: Further facts, as JSON.
    """

    kind: str
    actor_id: str
    at: datetime
    name: str | None = None
    comment: str = ""
    outcome: str = "allowed"
    reason: str | None = None
    channel: str = "worker"
    request_id: str | None = None
    key_id: str | None = None
    data: Json = field(default_factory=dict)


async def record_event(records: Records, request: Request, event: HistoryEvent) -> bool:
    """Records an event: history, milestone, webhook deliveries and audit; of a refusal, the audit event only.

    Args:
        records: The tenant's records.
        request: The request; for the event of a decision, without that decision.
        event: The event.

    Returns:
        False where an event of this name was recorded before, and nothing is added.
    """
    action = _ACTIONS.get(event.kind, _CLOSED)
    if event.kind not in _REFUSED:
        happening = HistoryEntry(
            event.name or new_id(), event.kind, event.actor_id, event.at, event.comment, event.data
        )
        if not await records.requests.happened(request.approval.request_id, happening):
            return False
        age = (event.at - request.approval.opened_at).total_seconds()
        records.facts.append(RequestChanged(request.request_type, event.kind, age))
        if request.run_id is not None and action in _MILESTONES:
            await records.events.append(
                request.run_id, _MILESTONES[action], _milestone(request, event, action), event.at
            )
        await _announce(records, request, event)
    await records.audit.append(_audit(request, event, action))
    return True


async def reassignments_of(records: Records, request_id: str) -> Sequence[Reassignment]:
    """Lists the reassignments of a request by users, oldest first; those of timed actions are left out."""
    entries = await records.requests.happenings(request_id, REASSIGNED)
    return [_reassignment(one) for one in entries if one.name.startswith(f"{REASSIGNED}:")]


def _reassignment(entry: HistoryEntry) -> Reassignment:
    to = Deciders(_texts(entry.data.get("roles")), _texts(entry.data.get("people")))
    key_id = entry.data.get("key_id")
    return Reassignment(entry.actor_id, to, key_id if isinstance(key_id, str) else None)


def _texts(listed: object) -> tuple[str, ...]:
    return tuple(str(one) for one in listed) if isinstance(listed, (list, tuple)) else ()


async def _announce(records: Records, request: Request, event: HistoryEvent) -> None:
    type_, terms = _EVENTS.get(event.kind), request.approval.terms
    # Only these two can be turned off by the terms; escalations and ends are always sent.
    quiet = {WebhookEvent.REQUEST_CREATED: terms.notify_on_create, WebhookEvent.REQUEST_ACTION: terms.notify_on_action}
    if type_ is not None and quiet.get(type_, True):
        data = _webhook_data(request, event)
        await announce(records, type_.value, data, event.at, definition_id=request.definition_id)


def _webhook_data(request: Request, event: HistoryEvent) -> Json:
    decisions = request.approval.decisions
    approvers = {verdict: [one.approver_id for one in decisions if one.verdict is verdict] for verdict in Verdict}
    # The request is passed without the decision that this event is about.
    if event.kind in _VERDICTS:
        approvers[_VERDICTS[event.kind]].append(event.actor_id)
    return {
        "request_id": request.approval.request_id,
        "request_type": request.request_type,
        "resource_type": request.resource_type,
        "resource_id": request.resource_id[:200],
        "requester_id": request.approval.requester_id,
        "title": request.title[:200],
        "action": event.kind,
        "actor_id": event.actor_id,
        "approved_by": approvers[Verdict.APPROVE],
        "rejected_by": approvers[Verdict.REJECT],
    }


def _milestone(request: Request, event: HistoryEvent, action: str) -> Json:
    common: dict[str, object] = {"request_id": request.approval.request_id}
    if action == "approval.request":
        return {**common, "step": request.step, "call": request.call, "tool": request.resource_id}
    if action == "approval.decide":
        return {**common, "approver_id": event.actor_id, "verdict": event.outcome}
    if action == _CLOSED:
        return {**common, "status": event.kind, "reason": event.comment}
    return {**common, "kind": event.kind, **event.data}


def _audit(request: Request, event: HistoryEvent, action: str) -> AuditEvent:
    about: dict[str, object] = {"type": request.request_type, "content_hash": request.approval.content}
    if request.run_id is not None:
        about |= {"run_id": request.run_id, "tool": request.resource_id}
    return AuditEvent(
        actor_id=event.actor_id,
        on_behalf_of=_represented(event),
        action=action,
        resource_type="approval",
        resource_id=request.approval.request_id,
        outcome=event.outcome,
        reason=event.reason or (event.comment or None if action == _CLOSED else None),
        channel=event.channel,
        request_id=event.request_id,
        key_id=event.key_id,
        at=event.at,
        details={**about, **event.data},
    )


def _represented(event: HistoryEvent) -> str | None:
    behalf = event.data.get("on_behalf_of")
    return behalf if isinstance(behalf, str) else None
