"""A decision on its way to the workflow that counts it, and what the workflow answers."""

from dataclasses import dataclass

from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.errors import Kind


@dataclass(frozen=True, slots=True)
class SubmittedDecision:
    """A person's decision whose author is authenticated.

    Attributes:
        approver_id: Who.
        verdict: What they say.
        comment: Why.
        seen: Hash of what they were shown.
        edit: Hash of what they would rather approve; what that is, is a row.
        for_run: Whether the approval holds for the tool for the rest of the run.
        key_id: The API key that speaks for them, if it is one.
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
    """What became of a decision, or of another change.

    Attributes:
        status: Where the request stands since.
        code: Why it does not count; None when it does.
        message: The same for a person.
        kind: The family of the refusal; None where it was not recorded.
    """

    status: str
    code: str | None = None
    message: str | None = None
    kind: Kind | None = None
