"""The details of a request in the Temporal UI, and its state across continue-as-new."""

from dataclasses import dataclass, replace

from temporalio import workflow

from workflows.runtime.markdown import escaped

with workflow.unsafe.imports_passed_through():
    from models.messages.approvals import CarriedApproval, CarriedDecision, OpenedRequest, RequestRef
    from taskforce.core.domain.approvals.approval import Approval, Channel, Decision, Verdict
    from taskforce.core.domain.approvals.terms import NOBODY, Deciders


@dataclass(frozen=True, slots=True)
class Subject:
    """The facts about a request that its details tell besides its state.

    Attributes:
        title: Its title.
        path: Its path in the gateway.
        gateway_url: The public URL of the gateway; empty without one.
        excerpt: An excerpt of its content; empty where none may be shown.
        content: The hash of the content that the excerpt is of.
    """

    title: str = ""
    path: str = ""
    gateway_url: str = ""
    excerpt: str = ""
    content: str = ""


def subject(ref: RequestRef, opened: OpenedRequest) -> Subject:
    """Builds the subject of the details from an opened request."""
    path = f"/api/v1/admin/requests/{ref.request_id}"
    return Subject(opened.title, path, opened.gateway_url, opened.excerpt, opened.content)


def described(about: Subject, approval: Approval) -> str:
    """Renders an open request as Markdown for the Temporal UI.

    Args:
        about: What it is about.
        approval: The request.
    """
    terms = approval.terms
    decided = ", ".join(f"{escaped(d.approver_id)} ({d.verdict.value})" for d in approval.decisions) or "nobody yet"
    how = "signals count" if terms.signal_channel else "by the API only"
    return (
        f"**{escaped(about.title)}**\n\n"
        f"- asked by: {escaped(approval.requester_id)}\n"
        f"{_asked(about, approval)}"
        f"- may decide: {escaped(str(approval.who))} ({terms.required_approvers} needed; {how})\n"
        f"- decided so far: {decided}\n"
        f"{_coming(approval)}"
        f"- expires: {approval.expires_at.isoformat(timespec='seconds')}\n"
        f"- whole: {_link(about)}\n\n"
        'Signal `approve` or `reject` with `{"approver": "<user id>", "comment": "..."}`.'
    )


def _asked(about: Subject, approval: Approval) -> str:
    if not about.excerpt:
        return ""
    if about.content != approval.content:
        return "- asks for: what an approver has changed it to; see the whole request\n"
    return f"- asks for: {escaped(about.excerpt)}\n"


def _link(about: Subject) -> str:
    if not about.gateway_url:
        return f"`GET {about.path}` of the gateway"
    return f"[{escaped(about.path)}](<{about.gateway_url}{about.path}>)"


def _coming(approval: Approval) -> str:
    coming, at = approval.next_action, approval.next_at()
    return "" if coming is None else f"- next: {coming.kind.value} at {at.isoformat(timespec='seconds')}\n"


def carried(approval: Approval) -> CarriedApproval:
    """Builds the state that a request carries into its next execution."""
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


def restored(approval: Approval, carried: CarriedApproval) -> Approval:
    """Restores a request from the state of its earlier execution."""
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
            for one in carried.decisions
        ),
        deciders=Deciders(carried.roles, carried.people) if carried.reassigned else None,
        acted=carried.acted,
        content=carried.content,
    )
