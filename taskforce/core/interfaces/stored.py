"""What storage keeps, as the use cases see it: values without behaviour that `records.py`'s protocols take and give."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from taskforce.core.domain.approvals import Approval, ApprovalStatus
from taskforce.core.domain.runs import RunStatus
from taskforce.core.interfaces.llm import ModelCall

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Event:
    """One durable milestone of a run. `seq` starts at 1, has no gaps and is the resume point of a stream."""

    seq: int
    type: str
    data: Json
    at: datetime


@dataclass(frozen=True, slots=True)
class Spending:
    """What an effect used: its key, and either the calls to models or the tool that ran.

    Attributes:
        run_id: The run.
        step: Its step.
        call: 0 for the model, n for the n-th tool call.
        attempt: Temporal's attempt, from 1.
        user_id: On whose behalf.
        agent_id: Which agent.
        at: When it was recorded.
        calls: The model calls of the attempt.
        tool: The tool that ran, for a tool call.
        duration_ms: Milliseconds that the tool took.
    """

    run_id: str
    step: int
    call: int
    attempt: int
    user_id: str
    agent_id: str
    at: datetime
    calls: tuple[ModelCall, ...] = ()
    tool: str | None = None
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class StepUsage:
    """What the model used in one step, all attempts together.

    Attributes:
        step: The step.
        input_tokens: Of prompts, cached ones included.
        output_tokens: Of replies.
        cached_tokens: Those input tokens that came from the provider's cache.
        wasted_tokens: Those of calls that brought no usable reply.
        models: LiteLLM names that were called, in alphabetical order.
    """

    step: int
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    wasted_tokens: int = 0
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Erased:
    """How much retention has erased: runs with all that hung on them, and what was left empty.

    Attributes:
        runs: Runs.
        requests: Their requests for approval.
        sessions: Sessions of which no run is left.
    """

    runs: int
    requests: int
    sessions: int


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
class Happening:
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
class AuditEvent:
    """Who did, or tried, what, on what, and how it ended.

    `content` is what was asked, whole: the log keeps of it what the deployment's `ContentRules` say. `key_id` is the
    API key that spoke, if it was one.
    """

    actor_id: str
    action: str
    resource_type: str
    resource_id: str
    outcome: str
    at: datetime
    reason: str | None = None
    channel: str = "api"
    on_behalf_of: str | None = None
    request_id: str | None = None
    details: Json | None = None
    content: Json | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An event as the log keeps it."""

    audit_id: str
    actor_id: str
    on_behalf_of: str | None
    channel: str
    action: str
    resource_type: str
    resource_id: str
    outcome: str
    reason: str | None
    request_id: str | None
    details: Json
    at: datetime
    key_id: str | None = None

    def event(self) -> dict[str, object]:
        """The event as it is chained and exported: plain JSON.

        A key is left out where none spoke: so it was before keys were named, and what is sealed stays as it was hashed.
        """
        plain = {**asdict(self), "details": dict(self.details), "at": self.at.astimezone(UTC).isoformat()}
        return {name: value for name, value in plain.items() if name != "key_id" or value is not None}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit events to list; None is any.

    Attributes:
        actor_id: Who.
        action: For example `role.create`.
        resource_type: On what kind of thing.
        resource_id: On which one.
        outcome: For example `denied`.
        since: From when on, UTC.
        until: Until when, UTC; that moment left out.
        key_id: By which API key.
    """

    actor_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The first answer to an idempotency key."""

    body_hash: str
    status: int
    body: Json


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
class Page:
    """A place in a list that is ordered by (time, id), newest first."""

    limit: int
    before: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class Approver:
    """Somebody who may decide requests, with the roles of now.

    Attributes:
        user_id: Who.
        roles: Their roles.
        stands_for: Those who are away and have asked this person to decide, with their roles.
        in_person: Whether it is the person who speaks, and not an API key of theirs.
    """

    user_id: str
    roles: frozenset[str]
    stands_for: "tuple[Approver, ...]" = ()
    in_person: bool = True


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; None does not filter."""

    status: RunStatus | None = None
    session_id: str | None = None
    agent_id: str | None = None
    user_id: str | None = None
