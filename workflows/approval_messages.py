"""What the `Approval` workflow tells its activities, and what it makes of what it is told."""

from datetime import datetime
from typing import Any, Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from models.messages.approvals import (
        ApprovalInput,
        ChangeInput,
        ChangeRecord,
        DecisionCheck,
        DecisionGround,
        DecisionInput,
        DecisionRecord,
        OpenedRequest,
        RefusedDecision,
    )
    from taskforce.core.domain.approvals.approval import Decision
    from taskforce.core.domain.approvals.terms import ActionKind, Deciders, Terms, TimedAction
    from taskforce.core.domain.approvals.update_shapes import require_author, require_deciders, require_hashes
    from taskforce.core.domain.errors import DomainError

Ways = Literal["api", "signal"]


def require_decision(decision: DecisionInput) -> None:
    """Refuses a decision that no activity could check or record.

    Raises:
        Invalid: `update_malformed`.
    """
    require_author(decision.approver_id, decision.comment, decision.key_id)
    require_hashes(decision.seen, decision.edit)


def require_change(wish: ChangeInput) -> None:
    """As `require_decision`, for other changes."""
    require_author(wish.actor_id, wish.comment, wish.key_id)
    require_deciders(wish.roles, wish.people, wish.http_request)


def rejection(refused: DomainError) -> ApplicationError:
    """A refusal as a validator raises it."""
    return ApplicationError(refused.message, type=refused.code, non_retryable=True)


def terms_of(opened: OpenedRequest) -> Terms:
    """The terms under which a request is decided."""
    actions = (
        TimedAction(ActionKind(one.kind), one.after_seconds, Deciders(one.roles, one.people)) for one in opened.actions
    )
    return Terms(
        required_approvers=opened.required_approvers,
        rejections_to_close=opened.rejections_to_close,
        allowed_roles=opened.allowed_roles,
        self_approval=opened.self_approval,
        expire_seconds=opened.expire_seconds,
        signal_channel=opened.signal_channel,
        allowed_people=opened.allowed_people,
        comment_required=opened.comment_required,
        actions=tuple(actions),
    )


def decision_check(asked: ApprovalInput, decision: DecisionInput, channel: Ways, *, lasting: bool) -> DecisionCheck:
    """Asks whether somebody may decide; within the handler of their decision."""
    made: dict[str, Any] = {**_of(asked), "approver_id": decision.approver_id, "channel": channel}
    if decision.edit is not None:
        made["edit"] = decision.edit
    if decision.key_id is not None:
        made["key_id"] = decision.key_id
    if lasting:
        made["lasting"] = True
    if channel == "api":
        made |= {"said": decision, "update_id": _update_id()}
    return DecisionCheck.model_validate(made)


def decision_record(asked: ApprovalInput, said: DecisionInput, decision: Decision, content: str) -> DecisionRecord:
    """A decision that counts.

    Args:
        asked: The request.
        said: What was sent.
        decision: What counts of it.
        content: Hash of what is asked for with it.
    """
    made: dict[str, Any] = {
        **_of(asked),
        "approver_id": decision.approver_id,
        "channel": decision.channel.value,
        "verdict": decision.verdict.value,
        "comment": decision.comment,
        "at": decision.at,
    }
    more = {
        "on_behalf_of": decision.on_behalf_of,
        "content": said.edit and content,
        "for_run": said.for_run,
        "key_id": said.key_id,
        "said": said if made["channel"] == "api" else None,
    }
    return DecisionRecord.model_validate(made | {name: value for name, value in more.items() if value})


def refused_decision(asked: ApprovalInput, decision: DecisionInput, channel: Ways, code: str) -> RefusedDecision:
    """A decision that does not count."""
    made: dict[str, Any] = {**_of(asked), "approver_id": decision.approver_id, "channel": channel, "code": code}
    if channel == "api":
        made["said"] = decision
    return RefusedDecision.model_validate(made)


def change_record(asked: ApprovalInput, wish: ChangeInput, now: datetime) -> ChangeRecord:
    """A change that the rules allow; within the handler of the wish."""
    return ChangeRecord.model_validate({**_of(asked), "change": wish, "at": now, "update_id": _update_id()})


def way_of(channel: Ways, ground: DecisionGround | None) -> Ways:
    """How a decision counts: an update for whose author nobody vouches as a signal does."""
    return "signal" if ground is not None and ground.claimed else channel


def represented(ground: DecisionGround | None) -> str | None:
    """In whose place somebody decides; before 2026-11 the activity said nothing."""
    return None if ground is None else ground.on_behalf_of


def _of(asked: ApprovalInput) -> dict[str, str]:
    return {"tenant_id": asked.tenant_id, "request_id": asked.request_id}


def _update_id() -> str:
    update = workflow.current_update_info()
    return "" if update is None else update.id
