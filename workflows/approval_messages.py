"""Builds and checks the messages of the `Approval` workflow."""

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
    from taskforce.core.domain.approvals.approval import NOT_NEEDED, Decision
    from taskforce.core.domain.approvals.terms import ActionKind, Deciders, Terms, TimedAction
    from taskforce.core.domain.approvals.update_shapes import require_author, require_deciders, require_hashes
    from taskforce.core.domain.errors import DomainError

Ways = Literal["api", "signal"]


def require_decision(decision: DecisionInput) -> None:
    """Requires a well-formed decision, which an activity can check and record.

    Raises:
        Invalid: `update_malformed`.
    """
    require_author(decision.approver_id, decision.comment, decision.key_id)
    require_hashes(decision.seen, decision.edit)


def cancellation_text(start: ApprovalInput, said: str | None) -> str:
    """Returns why a request was withdrawn whose workflow was cancelled, in Temporal or with its run.

    Args:
        start: The workflow's input.
        said: The reason that was sent with the cancellation, if any.
    """
    if start.run_id and said == NOT_NEEDED:
        return NOT_NEEDED
    # A run's cancellation reaches its requests without a reason, and looks like an operator's.
    why = "the run or the request was cancelled" if start.run_id else "an operator cancelled the request"
    return f"{why}: {said}" if said else why


def require_change(change: ChangeInput) -> None:
    """Requires a well-formed withdrawal or reassignment.

    Raises:
        Invalid: `update_malformed`.
    """
    require_author(change.actor_id, change.comment, change.key_id)
    require_deciders(change.roles, change.people, change.http_request)


def rejection(refused: DomainError) -> ApplicationError:
    """Maps a refusal to the error of an update validator."""
    return ApplicationError(refused.message, type=refused.code, non_retryable=True)


def terms_of(opened: OpenedRequest) -> Terms:
    """Builds the terms of a request from its message."""
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


def decision_check(start: ApprovalInput, decision: DecisionInput, channel: Ways, *, lasting: bool) -> DecisionCheck:
    """Builds the input of `authorize_decision`; call it within the decision's handler."""
    made: dict[str, Any] = {**_of(start), "approver_id": decision.approver_id, "channel": channel}
    # Set only where given: unset fields stay out of the history, as in recorded ones.
    if decision.edit is not None:
        made["edit"] = decision.edit
    if decision.key_id is not None:
        made["key_id"] = decision.key_id
    if lasting:
        made["lasting"] = True
    if channel == "api":
        made |= {"said": decision, "update_id": _update_id()}
    return DecisionCheck.model_validate(made)


def decision_record(start: ApprovalInput, said: DecisionInput, decision: Decision, content: str) -> DecisionRecord:
    """Builds the input of `record_decision`.

    Args:
        start: The request.
        said: The decision as sent.
        decision: The decision as counted.
        content: SHA-256 of the content that is requested after it.
    """
    made: dict[str, Any] = {
        **_of(start),
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


def refused_decision(start: ApprovalInput, decision: DecisionInput, channel: Ways, code: str) -> RefusedDecision:
    """Builds the input of `refuse_decision`."""
    made: dict[str, Any] = {**_of(start), "approver_id": decision.approver_id, "channel": channel, "code": code}
    if channel == "api":
        made["said"] = decision
    return RefusedDecision.model_validate(made)


def change_record(start: ApprovalInput, change: ChangeInput, now: datetime) -> ChangeRecord:
    """Builds the input of `record_change`; call it within the change's handler."""
    return ChangeRecord.model_validate({**_of(start), "change": change, "at": now, "update_id": _update_id()})


def way_of(channel: Ways, ground: DecisionGround | None) -> Ways:
    """Returns the channel that a decision counts on: an update without a valid proof counts as a signal."""
    return "signal" if ground is not None and ground.claimed else channel


def represented(ground: DecisionGround | None) -> str | None:
    """Returns whom the approver represents; histories before 2026-11 hold no result."""
    return None if ground is None else ground.on_behalf_of


def _of(start: ApprovalInput) -> dict[str, str]:
    return {"tenant_id": start.tenant_id, "request_id": start.request_id}


def _update_id() -> str:
    update = workflow.current_update_info()
    return "" if update is None else update.id
