"""A run: its specification, status, limits and totals."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.identity.principals import TokenClaims
from taskforce.core.domain.ids import is_id
from taskforce.core.domain.metering.attribution import Attribution
from taskforce.core.domain.runs.kill_switches import RunStop
from taskforce.core.domain.runs.loop_limits import LoopLimits
from taskforce.core.domain.runs.model_retry import ModelRetry
from taskforce.core.domain.runs.questions import Question
from taskforce.core.domain.runs.reply_times import ReplyTimes

TOKENS_USED_UP = "tokens_used_up"
TIME_USED_UP = "time_used_up"
ANSWER_SECONDS = 72 * 3_600
"""Seconds that a run waits for a person's answer."""
DEFAULT_MAX_STEPS = 15
DEFAULT_MAX_TOKENS = 1_000_000
DEFAULT_MAX_SECONDS = 3_600
ANSWER_EXCERPT = 2_000
"""Characters of a run's answer that a list shows."""
HARD_MAX_STEPS = 10_000
HARD_MAX_TOKENS = 10**12
HARD_MAX_SECONDS = 366 * 86_400
HARD_LIMITS = {"max_steps": HARD_MAX_STEPS, "max_tokens": HARD_MAX_TOKENS, "max_seconds": HARD_MAX_SECONDS}
"""Greatest value of each field of `Limits` that the product supports."""


class RunStatus(StrEnum):
    """The status of a run; the last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Returns whether the run has ended."""
        return self in FINAL


FINAL = frozenset({RunStatus.COMPLETED, RunStatus.INCOMPLETE, RunStatus.FAILED, RunStatus.CANCELLED})


class StopReason(StrEnum):
    """The reason for ending as `incomplete`: a limit, a budget, repeated steps, or an answer that was cut."""

    MAX_STEPS = "max_steps"
    MAX_TOKENS = "max_tokens"
    MAX_SECONDS = "max_seconds"
    REPEATED_CALLS = "repeated_calls"
    REPLY_CUT = "reply_cut"
    CONTENT_FILTER = "content_filter"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a run's use. Waits do not count as work: for people, for workers, for the database, between retries.

    Attributes:
        max_steps: Model turns with tools; one closing turn without tools may follow.
        max_tokens: Input and output tokens together.
        max_seconds: Seconds of work of models and tools.

    Raises:
        Invalid: `limits_invalid` when a limit is not positive or beyond what the product carries.
    """

    max_steps: int = DEFAULT_MAX_STEPS
    max_tokens: int = DEFAULT_MAX_TOKENS
    max_seconds: int = DEFAULT_MAX_SECONDS

    def __post_init__(self) -> None:
        for name, limit in HARD_LIMITS.items():
            if not 1 <= getattr(self, name) <= limit:
                raise Invalid("limits_invalid", f"{name} must be from 1 to {limit}.")

    def reached(self, steps: int, tokens: int, seconds: float) -> StopReason | None:
        """Returns the limit that prevents another step.

        Args:
            steps: Steps done.
            tokens: Tokens used.
            seconds: Seconds worked.

        Returns:
            The limit, or None while the run may go on.
        """
        if tokens >= self.max_tokens:
            return StopReason.MAX_TOKENS
        if seconds >= self.max_seconds:
            return StopReason.MAX_SECONDS
        return StopReason.MAX_STEPS if steps >= self.max_steps else None

    def raised(self, to: Mapping[str, int]) -> "Limits":
        """Returns the limits with some raised; none is ever lowered.

        Args:
            to: The new values by field name.

        Raises:
            Invalid: `limits_invalid`.
        """
        # A repeated or late request must not lower what was raised meanwhile.
        return replace(self, **{name: max(limit, getattr(self, name)) for name, limit in to.items()})


@dataclass(frozen=True, slots=True)
class Pinned:
    """The catalog version that a run was started with.

    Attributes:
        version_id: Id of the version.
        version_number: Number of the version (Semantic Versioning).
        config_hash: SHA-256 over its definition's canonical JSON.
        slug: The agent's slug at that time.
    """

    version_id: str
    version_number: str
    config_hash: str
    slug: str


@dataclass(frozen=True, slots=True)
class AgentDefinition:
    """The agent as it was when the run was started; a run keeps it to its end.

    Attributes:
        agent_id: The agent's id.
        name: Display name.
        system_prompt: The system message of every model call.
        tools: Names of the tools that it may use; None means all tools.
        models: LiteLLM names, the preferred first.
        temperature: Sampling temperature, if set.
        max_reply_tokens: Cap of one reply, if set.
        require_approval: Tools of which each call needs an approval, besides those that always need one.
        approval: The terms of such a request for approval.
        approval_roles: Roles that may decide it, out of those that the terms allow; empty means all of them.
        pinned: The catalog version; None for an agent of a profile.
        loop: Limits of its runs' loop.
        reply_times: Time limits of a reply by model; one without an entry has the default ones, as have runs stored
            before the field.
        attribution: To whom its runs are charged where their users' attributes do not say.
    """

    agent_id: str
    name: str
    system_prompt: str
    tools: tuple[str, ...] | None
    models: tuple[str, ...]
    temperature: float | None = None
    max_reply_tokens: int | None = None
    require_approval: tuple[str, ...] = ()
    approval: Terms = field(default_factory=Terms)
    pinned: Pinned | None = None
    approval_roles: tuple[str, ...] = ()
    loop: LoopLimits = field(default_factory=LoopLimits)
    reply_times: Mapping[str, ReplyTimes] = field(default_factory=dict)
    attribution: Attribution = field(default_factory=Attribution)

    @property
    def label(self) -> str:
        """Returns the display label: `slug@version` for an agent of the catalog, else its id."""
        return self.agent_id if self.pinned is None else f"{self.pinned.slug}@{self.pinned.version_number}"

    @property
    def names(self) -> frozenset[str]:
        """Returns the agent's names: its id and, for one of the catalog, its slug when the run was started."""
        return frozenset({self.agent_id} if self.pinned is None else {self.agent_id, self.pinned.slug})

    def may_use(self, tool: str) -> bool:
        """Tells whether the agent's definition includes a tool."""
        return self.tools is None or tool in self.tools


@dataclass(frozen=True, slots=True)
class Totals:
    """A run's use so far.

    `cached_tokens` and `cache_write_tokens` are among the input, `reasoning_tokens` among the output, `wasted_tokens`
    those of model calls without a usable reply, `estimated_tokens` of calls that the provider has not counted.
    """

    steps: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    wasted_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Returns input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The immutable specification of a run; only its limits may be raised later.

    Attributes:
        tenant_id: The run's tenant.
        run_id: The run's id.
        session_id: The run's session, `<tenant>:session-<uuid>`.
        user_id: The user on whose behalf it acts.
        profile: Name of the profile that it was started with.
        agent: The agent's definition at the start.
        mission: The task in the caller's words.
        context: Facts that the caller passed with the mission.
        limits: The limits of its row when it was read.
        created_at: Time of the request, UTC.
        key_id: The API key that started it, to which its rights are cut; None when the user did.
        claimed_roles: Roles claimed by the token that started it; roles that other tokens of the user claim give the
            run no rights. None for an API key, and for runs stored before the field.
        claimed_attributes: Facts for policies that this token claimed; None as for `claimed_roles`.
        attribution: To whom its usage is charged; runs stored before the field have none.
    """

    tenant_id: str
    run_id: str
    session_id: str
    user_id: str
    profile: str
    agent: AgentDefinition
    mission: str
    context: Mapping[str, object]
    limits: Limits
    created_at: datetime
    key_id: str | None = None
    claimed_roles: frozenset[str] | None = None
    claimed_attributes: Mapping[str, object] | None = None
    attribution: Attribution = field(default_factory=Attribution)

    @property
    def claims(self) -> TokenClaims | None:
        """Claims of the token that started it, to which its rights are cut; None as for `claimed_roles`."""
        return None if self.claimed_roles is None else TokenClaims(self.claimed_roles, self.claimed_attributes)

    def size(self) -> int:
        """Returns the approximate size in characters."""
        facts = len(str(self.context)) + len(str(self.claimed_attributes))
        return len(self.mission) + facts + len(self.agent.system_prompt) + 500


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run: its final status with the reason or error."""

    status: RunStatus
    stop_reason: StopReason | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run as stored.

    Attributes:
        answer: The final answer; in a list cut to `ANSWER_EXCERPT` characters plus one that shows that there is more.
        questions: Questions without an answer.
        retry: The next retry of a failed model call, while the run waits for it.
        cancel_requested: Whether its cancellation was requested while it was open.
    """

    spec: RunSpec
    status: RunStatus
    totals: Totals
    waiting_for: str | None = None
    answer: str | None = None
    stop_reason: StopReason | None = None
    error_code: str | None = None
    error_message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    questions: tuple[Question, ...] = ()
    retry: ModelRetry | None = None
    cancel_requested: bool = False

    def ended_by(self, ending: Ending) -> Ending:
        """Returns how the run ends: as cancelled where that was promised while it was open, whatever else ends it.

        Args:
            ending: The end that it would have otherwise.
        """
        return Ending(RunStatus.CANCELLED) if self.cancel_requested else ending

    @property
    def goes_on(self) -> bool:
        """Returns whether the run is open, and is not to be cancelled."""
        return not (self.status.is_final or self.cancel_requested)

    def require_not_cancelled(self) -> None:
        """Requires that the run is not to be cancelled.

        Raises:
            Conflict: `run_cancelled`.
        """
        RunStop(is_cancelled=self.cancel_requested).require_not_cancelled()

    def require_open(self) -> None:
        """Requires that the run has not ended.

        Raises:
            Conflict: `run_finished`.
        """
        if self.status.is_final:
            raise Conflict("run_finished", f"The run has ended ({self.status.value}).")


def workflow_id(tenant_id: str, run_id: str) -> str:
    """Returns the Temporal workflow id of a run; it holds the tenant id, so that two tenants' ids never collide."""
    return f"{tenant_id}:run:{run_id}"


def run_of(workflow: str) -> tuple[str, str] | None:
    """Parses a workflow id of `workflow_id` into (tenant id, run id); None for any other."""
    tenant_id, _, run_id = workflow.partition(":run:")
    return (tenant_id, run_id) if tenant_id and ":" not in tenant_id and is_id(run_id) else None
