"""A decision as it is submitted to the `Approval` workflow, and the workflow's result."""

from dataclasses import dataclass

from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.errors import Kind


@dataclass(frozen=True, slots=True)
class SubmittedDecision:
    """A decision whose approver is authenticated.

    Attributes:
        approver_id: The user who decides.
        verdict: Approval or rejection.
        comment: The reason given; may be empty.
        seen: SHA-256 of the content that the approver was shown; None when unknown.
        edit: SHA-256 of the edited content that the approver approves instead; the content itself is a row.
        for_run: Whether the approval holds for the tool for the rest of the run.
        key_id: The API key that authenticated the approver; None for a person.
    """

    approver_id: str
    verdict: Verdict
    comment: str = ""
    seen: str | None = None
    edit: str | None = None
    for_run: bool = False
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """The workflow's result of a decision or another change.

    Attributes:
        status: The request's status after it.
        code: Error code of a refusal; None when it counts.
        message: The refusal for people.
        kind: The error kind of the refusal; None where it was not recorded.
    """

    status: str
    code: str | None = None
    message: str | None = None
    kind: Kind | None = None
