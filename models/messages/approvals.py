"""Messages of the `Approval` workflow and its activities."""

from datetime import datetime
from typing import Literal

from models.messages.frame import Message


class RequestRef(Message):
    """Names a request."""

    tenant_id: str
    request_id: str


class ApprovalInput(RequestRef):
    """Starts the wait for a decision about one tool call of a run, or about a request that is filed already.

    Attributes:
        run_id: The run; empty for a filed request, as the call's place is 0.
        filed: Whether the request is a row already, and no run waits for it.
    """

    run_id: str
    step: int
    call: int
    filed: bool = False


class OpenedRequest(Message):
    """What the workflow must know to decide by the rules; what is asked for stays in its row."""

    title: str
    requester_id: str
    request_type: str
    opened_at: datetime
    expire_seconds: int
    required_approvers: int = 1
    rejections_to_close: int = 1
    allowed_roles: tuple[str, ...] = ()
    self_approval: bool = False
    signal_channel: bool = False


class DecisionInput(Message):
    """A person's decision, as the Update `decide` carries it."""

    approver_id: str
    verdict: Literal["approve", "reject"]
    comment: str = ""


class DecisionCheck(RequestRef):
    """Asks whether a person may decide, now."""

    approver_id: str
    channel: Literal["api", "signal"] = "api"


class DecisionRecord(DecisionCheck):
    """A decision that counts."""

    verdict: Literal["approve", "reject"]
    comment: str = ""
    at: datetime


class RefusedDecision(RequestRef):
    """A decision that does not count, for the audit log."""

    approver_id: str
    channel: Literal["api", "signal"]
    code: str


class DecisionOutcome(Message):
    """What became of a decision: `code` is set when it does not count."""

    status: str
    code: str | None = None
    message: str | None = None


class CloseRequest(RequestRef):
    """The end of a request."""

    status: Literal["approved", "rejected", "expired", "withdrawn"]
    reason: str = ""


class ApprovalOutcome(Message):
    """What the run is told: whether it may go on. The reason is a row."""

    status: Literal["approved", "rejected", "expired", "withdrawn"]


class ApprovalState(Message):
    """The answer to the `state` query."""

    status: str
    title: str
    requester_id: str
    decided_by: tuple[str, ...] = ()
    expires_at: datetime | None = None
