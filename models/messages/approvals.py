"""Messages of the `Approval` workflow and its activities."""

from datetime import datetime
from typing import Literal

from models.messages.budgets import ExceededBudget
from models.messages.frame import Message


class RequestRef(Message):
    """A reference to a request."""

    tenant_id: str
    request_id: str


class Proof(Message):
    """The gateway's proof of an update; see `ProofKey`.

    Attributes:
        made_at: Time at which it was made, UTC.
        nonce: Random text, which makes it single-use.
        code: The message authentication code.
    """

    made_at: datetime
    nonce: str
    code: str


class Update(Message):
    """The base of updates of a request.

    Attributes:
        proof: The gateway's proof; without one its author is only claimed, as in a signal.
    """

    proof: Proof | None = None

    def proven(self, tenant_id: str, request_id: str) -> dict[str, object]:
        """Returns the content of the proof: the request and every field, whether set or not."""
        # Defaults are left out, so that a field added later does not invalidate proofs of older gateways.
        said = self.model_dump(mode="json", exclude={"proof"}, exclude_defaults=True)
        return {"update": type(self).__name__, "tenant_id": tenant_id, "request_id": request_id, "said": said}


class CarriedDecision(Message):
    """A decision, carried across continue-as-new."""

    approver_id: str
    verdict: Literal["approve", "reject"]
    channel: Literal["api", "signal"]
    at: datetime
    comment: str = ""
    on_behalf_of: str | None = None
    content: str | None = None


class CarriedApproval(Message):
    """The state of a request, carried across continue-as-new.

    Attributes:
        decisions: The decisions so far.
        reassigned: Whether `roles` and `people` replace the deciders of the terms.
        acted: Number of performed timed actions.
        content: SHA-256 of the requested content.
        unsure: Users whose decision may or may not have been stored; it does not count.
    """

    decisions: tuple[CarriedDecision, ...] = ()
    reassigned: bool = False
    roles: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    acted: int = 0
    content: str = ""
    unsure: tuple[str, ...] = ()


class ApprovalInput(RequestRef):
    """The input of the `Approval` workflow: a tool call of a run or, without a run, a request that is a row.

    Attributes:
        run_id: The run; empty without one.
        step: The step.
        call: The call within it.
        carried: The state of the earlier execution.
        exceeded: The ledger that a raise is asked for; None for a tool call.
    """

    run_id: str = ""
    step: int = 0
    call: int = 0
    carried: CarriedApproval | None = None
    exceeded: ExceededBudget | None = None


class DueAction(Message):
    """A timed action of a request; seconds count from its opening."""

    kind: Literal["remind", "widen", "reassign"]
    after_seconds: int
    roles: tuple[str, ...] = ()
    people: tuple[str, ...] = ()


class OpenedRequest(Message):
    """The terms of a request, for the workflow; its payload stays in its row.

    Attributes:
        hears_late: Whether decisions after the end are audited.
        excerpt: An excerpt of its content for the Temporal UI; empty where none may be shown.
        gateway_url: The public URL of the gateway; empty without one.
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
    excerpt: str = ""
    gateway_url: str = ""


class DecisionInput(Update):
    """The input of the update `decide`.

    Attributes:
        approver_id: The user who decides.
        verdict: Approval or rejection.
        comment: The reason given; may be empty.
        seen: SHA-256 of the content that the approver was shown; None when unknown.
        edit: SHA-256 of the edited content that the approver approves instead; the content is a row.
        for_run: Whether the approval holds for the tool for the rest of the run.
        key_id: The API key that authenticated the approver; None for a person.
    """

    approver_id: str
    verdict: Literal["approve", "reject"]
    comment: str = ""
    seen: str | None = None
    edit: str | None = None
    for_run: bool = False
    key_id: str | None = None


class DecisionCheck(RequestRef):
    """The input of `authorize_decision`.

    Attributes:
        approver_id: The user who decides.
        channel: The channel on which it was received.
        edit: SHA-256 of the approver's edit; None without one.
        lasting: Whether the row never holds decisions that the workflow does not know.
        key_id: The API key that authenticated the approver; None for a person.
        said: The update with its proof; None for a signal.
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
    """The result of `authorize_decision`: on what ground a user may decide.

    Attributes:
        on_behalf_of: The user whom the approver represents; None for themselves.
        claimed: Whether the author is only claimed, so that the decision counts as a signal.
    """

    on_behalf_of: str | None = None
    claimed: bool = False


class DecisionRecord(DecisionCheck):
    """The input of `record_decision`: a decision that counts."""

    verdict: Literal["approve", "reject"]
    comment: str = ""
    at: datetime
    on_behalf_of: str | None = None
    content: str | None = None
    for_run: bool = False


class RefusedDecision(RequestRef):
    """The input of `refuse_decision`: a refused decision, for the audit log.

    Attributes:
        approver_id: The user who decided.
        channel: The channel on which it was received.
        code: Error code of the refusal.
        said: The update with its proof; None for a signal.
    """

    approver_id: str
    channel: Literal["api", "signal"]
    code: str
    said: DecisionInput | None = None


class DecisionOutcome(Message):
    """The result of an update: `code` is set when it is refused, with the error kind in `kind`."""

    status: str
    code: str | None = None
    message: str | None = None
    kind: str | None = None


class ChangeInput(Update):
    """The input of the update `change`: a withdrawal or a reassignment."""

    actor_id: str
    kind: Literal["withdraw", "reassign"]
    comment: str = ""
    roles: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    http_request: str | None = None
    key_id: str | None = None


class ChangeRecord(RequestRef):
    """The input of `record_change`: a change that the rules allow; the activity checks the user's right to it."""

    change: ChangeInput
    at: datetime
    update_id: str = ""


class TimedRecord(RequestRef):
    """The input of `act_on_request`: the number of a due action, from 0, and when it was due."""

    number: int
    at: datetime


class CloseRequest(RequestRef):
    """The input of `close_request`: final status and reason."""

    status: Literal["approved", "rejected", "expired", "withdrawn", "voided"]
    reason: str = ""


class CarriedOut(Message):
    """The result of `carry_out_request`: display text of the effect; None without one."""

    done: str | None = None


class ApprovalOutcome(Message):
    """The result of the `Approval` workflow; the reason is a row."""

    status: Literal["approved", "rejected", "expired", "withdrawn", "voided"]


class ApprovalState(Message):
    """The result of the query `state`."""

    status: str
    title: str
    requester_id: str
    decided_by: tuple[str, ...] = ()
    expires_at: datetime | None = None
    may_decide: str = ""
