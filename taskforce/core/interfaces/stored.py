"""What storage keeps, as the use cases see it: values without behaviour that `records.py`'s protocols take and give."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
class Request:
    """A request for approval as its row tells it.

    Attributes:
        approval: The rules' view: requester, terms, decisions.
        run_id: The run that waits for it; None when it is about no run.
        step: The step of the call; 0 without a run.
        call: The call within the step; 0 without a run.
        request_type: For example `tool_call`.
        resource_type: What kind of thing is asked for, for example `tool`.
        resource_id: Which one.
        title: For lists.
        payload: Exactly what is approved.
        content_hash: SHA-256 over the payload's canonical JSON.
        status: Where it stands; final once `closed_at` is set.
        closed_at: When it ended.
        reason: Why it ended so.
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


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did, or tried, what, on what, and how it ended."""

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

    def event(self) -> dict[str, object]:
        """The event as it is chained and exported: plain JSON."""
        return {**asdict(self), "details": dict(self.details), "at": self.at.astimezone(UTC).isoformat()}


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
    """

    actor_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The first answer to an idempotency key."""

    body_hash: str
    status: int
    body: Json


@dataclass(frozen=True, slots=True)
class Page:
    """A place in a list that is ordered by (time, id), newest first."""

    limit: int
    before: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class Approver:
    """Somebody who may decide requests, with the roles of now."""

    user_id: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; None does not filter."""

    status: RunStatus | None = None
    session_id: str | None = None
    agent_id: str | None = None
    user_id: str | None = None
