"""Messages of the `Approval` workflow and its activities."""

from datetime import datetime
from typing import Literal

from models.messages.frame import Message


class RequestRef(Message):
    """Names a request."""

    tenant_id: str
    request_id: str


class Proof(Message):
    """Shows that the gateway vouches for an update; see `ProofKey`.

    Attributes:
        made_at: When it was made.
        nonce: What makes it count once.
        code: The message authentication code.
    """

    made_at: datetime
    nonce: str
    code: str


class Update(Message):
    """What an update of a request says.

    Attributes:
        proof: Shows that it came through the gateway; what has none is only claimed, as by a signal.
    """

    proof: Proof | None = None

    def proven(self, tenant_id: str, request_id: str) -> dict[str, object]:
        """All that a proof is about: the request and every field, whether set or not."""
        said = self.model_dump(mode="json", exclude={"proof"}, exclude_defaults=True)
        return {"update": type(self).__name__, "tenant_id": tenant_id, "request_id": request_id, "said": said}


class CarriedDecision(Message):
    """A decision that counts, as one part of a request hands it to the next."""

    approver_id: str
    verdict: Literal["approve", "reject"]
    channel: Literal["api", "signal"]
    at: datetime
    comment: str = ""
    on_behalf_of: str | None = None
    content: str | None = None


class CarriedApproval(Message):
    """What one part of a long request hands to the next when it continues as new.

    Attributes:
        decisions: What was said so far.
        reassigned: Whether others decide than its terms say: those of `roles` and `people`.
        acted: How many timed actions have happened.
        content: Hash of what is asked for now.
        unsure: People whose decision may or may not be on record: it does not count.
    """

    decisions: tuple[CarriedDecision, ...] = ()
    reassigned: bool = False
    roles: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    acted: int = 0
    content: str = ""
    unsure: tuple[str, ...] = ()


class ApprovalInput(RequestRef):
    """Starts the wait for a decision: about one tool call of a run, or, without one, about a request that is a row.

    Attributes:
        run_id: The run, if it is about one's call.
        step: The step.
        call: The call within it.
        carried: What the part before hands over.
    """

    run_id: str = ""
    step: int = 0
    call: int = 0
    carried: CarriedApproval | None = None


class DueAction(Message):
    """Something that happens to a request by itself."""

    kind: Literal["remind", "widen", "reassign"]
    after_seconds: int
    roles: tuple[str, ...] = ()
    people: tuple[str, ...] = ()


class OpenedRequest(Message):
    """What the workflow must know to decide by the rules; what is asked for stays in its row.

    Attributes:
        hears_late: Whether words that come after the end are audited, as those before it are.
    """

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
    allowed_people: tuple[str, ...] = ()
    comment_required: bool = False
    actions: tuple[DueAction, ...] = ()
    carries_out: bool = False
    content: str = ""
    hears_late: bool = False


class DecisionInput(Update):
    """A person's decision, as the Update `decide` carries it.

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
    verdict: Literal["approve", "reject"]
    comment: str = ""
    seen: str | None = None
    edit: str | None = None
    for_run: bool = False
    key_id: str | None = None


class DecisionCheck(RequestRef):
    """Asks whether a person may decide, now.

    Attributes:
        approver_id: Who.
        channel: How it reached us.
        edit: Hash of what they would rather approve.
        lasting: Whether the row never says more than the workflow knows.
        key_id: The API key that speaks for them, if it is one.
        said: The update with its proof, if it came by one.
        update_id: The update's id in Temporal.
    """

    approver_id: str
    channel: Literal["api", "signal"] = "api"
    edit: str | None = None
    lasting: bool = False
    key_id: str | None = None
    said: DecisionInput | None = None
    update_id: str = ""


class DecisionGround(Message):
    """Why a person may decide: for themselves, or in somebody's place.

    Attributes:
        on_behalf_of: In whose place.
        claimed: Nobody vouches for its author: it counts as a signal.
    """

    on_behalf_of: str | None = None
    claimed: bool = False


class DecisionRecord(DecisionCheck):
    """A decision that counts."""

    verdict: Literal["approve", "reject"]
    comment: str = ""
    at: datetime
    on_behalf_of: str | None = None
    content: str | None = None
    for_run: bool = False


class RefusedDecision(RequestRef):
    """A decision that does not count, for the audit log.

    Attributes:
        approver_id: Who.
        channel: How it reached us.
        code: Why it does not count.
        said: The update with its proof, if it came by one.
    """

    approver_id: str
    channel: Literal["api", "signal"]
    code: str
    said: DecisionInput | None = None


class DecisionOutcome(Message):
    """What became of a decision: `code` is set when it does not count, and `kind` names the family of the refusal."""

    status: str
    code: str | None = None
    message: str | None = None
    kind: str | None = None


class ChangeInput(Update):
    """A person's wish about an open request, as the Update `change` carries it: take it back, or let others decide."""

    actor_id: str
    kind: Literal["withdraw", "reassign"]
    comment: str = ""
    roles: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    http_request: str | None = None
    key_id: str | None = None


class ChangeRecord(RequestRef):
    """A change that the rules allow, to be checked for the person's right to it, and recorded."""

    change: ChangeInput
    at: datetime
    update_id: str = ""


class TimedRecord(RequestRef):
    """A timed action that is due: which one, from 0, and when it was due."""

    number: int
    at: datetime


class CloseRequest(RequestRef):
    """The end of a request."""

    status: Literal["approved", "rejected", "expired", "withdrawn", "voided"]
    reason: str = ""


class CarriedOut(Message):
    """What was done of what was approved, for the workflow's details; None when nothing was to be done."""

    done: str | None = None


class ApprovalOutcome(Message):
    """What the run is told: whether it may go on. The reason is a row."""

    status: Literal["approved", "rejected", "expired", "withdrawn", "voided"]


class ApprovalState(Message):
    """The answer to the `state` query."""

    status: str
    title: str
    requester_id: str
    decided_by: tuple[str, ...] = ()
    expires_at: datetime | None = None
    may_decide: str = ""
