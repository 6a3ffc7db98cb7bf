"""What is stored about approval requests: the request, its history, its results, and delegations."""

from dataclasses import dataclass, field
from datetime import datetime

from taskforce.core.domain.approvals.approval import Approval, ApprovalStatus
from taskforce.core.domain.json_limits import Json


@dataclass(frozen=True, slots=True)
class Request:
    """A request for approval as its row tells it.

    Attributes:
        approval: The rules' view: requester, terms, decisions.
        run_id: The run that waits for it; None when none does.
        step: The step of the call; 0 without a run.
        call: The call within the step; 0 without a run.
        request_type: For example `tool_call`.
        resource_type: What kind of thing is asked for, for example `tool`.
        resource_id: Which one.
        title: For lists.
        payload: Exactly what was asked for.
        content_hash: SHA-256 over what of the payload is approved, as canonical JSON.
        status: Where it stands; final once `closed_at` is set.
        closed_at: When it ended.
        reason: Why it ended so.
        definition_id: The definition that it began with; None for terms from elsewhere.
        description: Why it is asked for.
        edited: What is asked for since an approver has changed it; None while nobody has.
        for_run: Whether the approval holds for this tool for the rest of the run.
        key_id: The API key that asked for it; None for a person, and for a run, which knows its own.
    """

    approval: Approval
    run_id: str | None
    step: int
    call: int
    request_type: str
    resource_type: str
    resource_id: str
    title: str
    payload: Json
    content_hash: str
    status: ApprovalStatus = ApprovalStatus.PENDING
    closed_at: datetime | None = None
    reason: str | None = None
    definition_id: str | None = None
    description: str = ""
    edited: Json | None = None
    for_run: bool = False
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened to a request, for its history.

    Attributes:
        name: Unique within the request: the same thing does not happen twice.
        kind: For example `reminded`.
        actor_id: Who, or `system`.
        at: When, UTC.
        comment: What was said.
        data: More about it.
    """

    name: str
    kind: str
    actor_id: str
    at: datetime
    comment: str = ""
    data: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests to list; None does not filter."""

    status: ApprovalStatus | None = None
    request_type: str | None = None
    requester_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Delegation:
    """Who decides in somebody's place.

    Attributes:
        user_id: Who is away.
        delegate_id: Who decides meanwhile.
        since: From when on, UTC.
        until: Until when, UTC; that moment left out.
    """

    user_id: str
    delegate_id: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class RequestResult:
    """What came of a request and is kept for a while for who asked.

    Attributes:
        request_id: The request.
        media_type: What it is.
        file_name: What it is called when it is downloaded.
        begun_at: When it was begun, UTC.
        kept_until: From when on it is kept no longer, UTC.
        state: How far it has come, for whoever goes on, and facts about it.
        pieces: How many there are.
        size: Bytes of them all.
        finished_at: When it was whole, UTC; None while it is not.
    """

    request_id: str
    media_type: str
    file_name: str
    begun_at: datetime
    kept_until: datetime
    state: Json = field(default_factory=dict, hash=False)
    pieces: int = 0
    size: int = 0
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Approver:
    """Somebody who may decide requests, with the roles of now.

    Attributes:
        user_id: Who.
        roles: Their roles.
        stands_for: Those who are away and have asked this person to decide, with their roles.
        key_id: The API key that speaks for them, if it is one.
        automated: Whether a service account speaks, or a key that somebody else has issued.
    """

    user_id: str
    roles: frozenset[str]
    stands_for: "tuple[Approver, ...]" = ()
    key_id: str | None = None
    automated: bool = False

    @property
    def in_person(self) -> bool:
        """Whether it is the person who speaks, and not an API key of theirs."""
        return self.key_id is None
