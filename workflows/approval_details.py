"""A request beside its workflow: what an operator reads of it in the Temporal UI, what its next part is handed."""

from dataclasses import replace

from temporalio import workflow

from workflows.runtime.markdown import escaped

with workflow.unsafe.imports_passed_through():
    from models.messages.approvals import CarriedApproval, CarriedDecision
    from taskforce.core.domain.approvals.approval import Approval, Channel, Decision, Verdict
    from taskforce.core.domain.approvals.terms import NOBODY, Deciders


def described(title: str, approval: Approval) -> str:
    """An open request: who asks, who may decide, who has, what happens next.

    Args:
        title: What is asked for.
        approval: Where it stands.
    """
    terms = approval.terms
    decided = ", ".join(f"{escaped(d.approver_id)} ({d.verdict.value})" for d in approval.decisions) or "nobody yet"
    how = "signals count" if terms.signal_channel else "by the API only"
    return (
        f"**{escaped(title)}**\n\n"
        f"- asked by: {escaped(approval.requester_id)}\n"
        f"- may decide: {escaped(str(approval.who))} ({terms.required_approvers} needed; {how})\n"
        f"- decided so far: {decided}\n"
        f"{_coming(approval)}"
        f"- expires: {approval.expires_at.isoformat(timespec='seconds')}\n\n"
        'Signal `approve` or `reject` with `{"approver": "<user id>", "comment": "..."}`.'
    )


def _coming(approval: Approval) -> str:
    coming, at = approval.next_action, approval.next_at()
    return "" if coming is None else f"- next: {coming.kind.value} at {at.isoformat(timespec='seconds')}\n"


def carried(approval: Approval) -> CarriedApproval:
    """What a request hands to its next part."""
    decisions = tuple(
        CarriedDecision.model_validate(
            {
                "approver_id": one.approver_id,
                "verdict": one.verdict.value,
                "channel": one.channel.value,
                "at": one.at,
                "comment": one.comment,
                "on_behalf_of": one.on_behalf_of,
                "content": one.content,
            }
        )
        for one in approval.decisions
    )
    to = approval.deciders or NOBODY
    return CarriedApproval(
        decisions=decisions,
        reassigned=approval.deciders is not None,
        roles=to.roles,
        people=to.people,
        acted=approval.acted,
        content=approval.content or "",
    )


def restored(approval: Approval, said: CarriedApproval) -> Approval:
    """A request where its part before has left it."""
    return replace(
        approval,
        decisions=tuple(
            Decision(
                one.approver_id,
                Verdict(one.verdict),
                one.comment,
                Channel(one.channel),
                one.at,
                one.on_behalf_of,
                one.content,
            )
            for one in said.decisions
        ),
        deciders=Deciders(said.roles, said.people) if said.reassigned else None,
        acted=said.acted,
        content=said.content,
    )
