"""What a run is, which states it knows, and what always stops it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.ids import is_id
from taskforce.core.domain.runs.loop_limits import LoopLimits
from taskforce.core.domain.runs.model_retry import ModelRetry
from taskforce.core.domain.runs.questions import Question

TOKENS_USED_UP = "tokens_used_up"
TIME_USED_UP = "time_used_up"
ANSWER_SECONDS = 72 * 3_600
"""How long a run waits for a person's answer."""
DEFAULT_MAX_STEPS = 15
DEFAULT_MAX_TOKENS = 1_000_000
DEFAULT_MAX_SECONDS = 3_600
ANSWER_EXCERPT = 2_000
"""Characters of an answer in a list."""
HARD_MAX_STEPS = 10_000
HARD_MAX_TOKENS = 10**12
HARD_MAX_SECONDS = 366 * 86_400
HARD_LIMITS = {"max_steps": HARD_MAX_STEPS, "max_tokens": HARD_MAX_TOKENS, "max_seconds": HARD_MAX_SECONDS}
"""What the product carries, by the names of `Limits`."""


class RunStatus(StrEnum):
    """Where a run stands. The last four are final."""

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
        """Whether nothing more will happen."""
        return self in FINAL


FINAL = frozenset({RunStatus.COMPLETED, RunStatus.INCOMPLETE, RunStatus.FAILED, RunStatus.CANCELLED})


class StopReason(StrEnum):
    """What ended a run as `incomplete`: a limit, steps that repeat, or an answer that was cut by a cap or a filter."""

    MAX_STEPS = "max_steps"
    MAX_TOKENS = "max_tokens"
    MAX_SECONDS = "max_seconds"
    REPEATED_CALLS = "repeated_calls"
    REPLY_CUT = "reply_cut"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use. Time in which it waits for a person does not count; such waits expire by themselves.

    Attributes:
        max_steps: Model turns with tools; one closing turn without tools may follow.
        max_tokens: Input and output tokens together.
        max_seconds: Seconds of work.

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
        """Tells which limit stands in the way of another step.

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
        """These limits, of which some are raised and none is lowered.

        Args:
            to: The new ones by their names.

        Raises:
            Invalid: `limits_invalid`.
        """
        return replace(self, **{name: max(limit, getattr(self, name)) for name, limit in to.items()})


@dataclass(frozen=True, slots=True)
class Pinned:
    """The version of the catalog's that a run began with.

    Attributes:
        version_id: Its id.
        version_number: Its number.
        config_hash: SHA-256 over its definition's canonical JSON.
        slug: The agent's name in addresses at that time.
    """

    version_id: str
    version_number: str
    config_hash: str
    slug: str


@dataclass(frozen=True, slots=True)
class AgentDefinition:
    """The agent as it was when the run began; a run keeps it to its end.

    Attributes:
        agent_id: The agent's stable name.
        name: For people.
        system_prompt: What the model is told first.
        tools: Names of the tools it may use; None means every tool there is.
        models: LiteLLM names, the preferred first.
        temperature: Sampling temperature, if set.
        max_reply_tokens: Cap of one reply, if set.
        require_approval: Tools of which each call needs a person's word, besides those that always do.
        approval: The terms of such a request.
        approval_roles: Roles that decide it, of those that the terms allow; none leaves it to the terms.
        pinned: The version of the catalog's that it is; None for the agent of a profile.
        loop: Bounds of its runs' loop.
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

    @property
    def label(self) -> str:
        """For people who look at many runs."""
        return self.agent_id if self.pinned is None else f"{self.pinned.slug}@{self.pinned.version_number}"

    @property
    def names(self) -> frozenset[str]:
        """By what it may be named: its id and, of the catalog's, its slug when the run began."""
        return frozenset({self.agent_id} if self.pinned is None else {self.agent_id, self.pinned.slug})

    def may_use(self, tool: str) -> bool:
        """Whether the agent has the tool at all."""
        return self.tools is None or tool in self.tools


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run has used so far."""

    steps: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    wasted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What never changes about a run but its limits, which may be raised: workflow inputs repeat only what steers it.

    Attributes:
        tenant_id: Its tenant.
        run_id: Its id.
        session_id: The session it belongs to, `<tenant>:session-<uuid>`.
        user_id: On whose behalf it acts.
        profile: The profile that it was started with.
        agent: The agent's definition, pinned.
        mission: What it shall do.
        context: Facts that the caller gave along.
        limits: What it may use, as its row said when it was read.
        created_at: When it was asked for.
        key_id: The API key that asked for it, to which its rights are cut; None when its user did.
        claimed_roles: The roles that the token claimed which asked for it: others that its user claims elsewhere give
            it nothing. None when a key did, and for runs of before this was kept.
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

    def size(self) -> int:
        """Characters that it takes up, about."""
        return len(self.mission) + len(str(self.context)) + len(self.agent.system_prompt) + 500


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    status: RunStatus
    stop_reason: StopReason | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its row tells it.

    Attributes:
        answer: What it says; in a list only as far as `ANSWER_EXCERPT`, and one character more where there is more.
        questions: What it waits for a person to answer.
        retry: The next try of a model call that failed, while that is waited for.
    """

    brief: RunSpec
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

    def require_open(self) -> None:
        """Refuses what makes no sense after the end.

        Raises:
            Conflict: `run_finished`.
        """
        if self.status.is_final:
            raise Conflict("run_finished", f"The run has ended ({self.status.value}).")


def workflow_id(tenant_id: str, run_id: str) -> str:
    """The Temporal workflow id of a run; it names the tenant, so that ids of two tenants never meet."""
    return f"{tenant_id}:run:{run_id}"


def run_of(workflow: str) -> tuple[str, str] | None:
    """(tenant, run) of a workflow id that `workflow_id` made, else None; a tenant's id holds no colon."""
    tenant_id, _, run_id = workflow.partition(":run:")
    return (tenant_id, run_id) if tenant_id and ":" not in tenant_id and is_id(run_id) else None
