"""What an operator reads of a request in the Temporal UI."""

import re

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from taskforce.core.domain.approvals import Approval

_MARKDOWN = re.compile(r"([\\`*_\[\]()<>#|!~])")


def plain(text: str) -> str:
    """A text that whoever makes agents or decides has written, without what Markdown would make of it."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def described(title: str, approval: Approval) -> str:
    """An open request: who asks, who may decide, who has, what happens next.

    Args:
        title: What is asked for.
        approval: Where it stands.
    """
    terms = approval.terms
    decided = ", ".join(f"{d.approver_id} ({d.verdict.value})" for d in approval.decisions) or "nobody yet"
    how = "signals count" if terms.signal_channel else "by the API only"
    return (
        f"**{plain(title)}**\n\n"
        f"- asked by: {approval.requester_id}\n"
        f"- may decide: {approval.who} ({terms.required_approvers} needed; {how})\n"
        f"- decided so far: {decided}\n"
        f"{_coming(approval)}"
        f"- expires: {approval.expires_at.isoformat(timespec='seconds')}\n\n"
        'Signal `approve` or `reject` with `{"approver": "<user id>", "comment": "..."}`.'
    )


def _coming(approval: Approval) -> str:
    coming, at = approval.next_action, approval.next_at()
    return "" if coming is None else f"- next: {coming.kind.value} at {at.isoformat(timespec='seconds')}\n"
