"""The metric families of the product: their names, labels and help, as guide 6.3 and docs/metrics.md have them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of durations of requests and calls, in seconds."""
SLOW = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0, 604_800.0)
"""The same, of runs and approvals, which may wait for people."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family.

    Attributes:
        name: Its name without the prefix; a counter's ends in `_total`.
        help: What it counts.
        kind: How it counts.
        labels: The names of its labels.
        bounds: The upper bounds of a histogram's buckets, ascending; +Inf is left out.
        lasts: Seconds after which a gauge that nobody has set again is no longer shown; None shows it for good.
        of_sdk: Whether it is Temporal's, whose names have a prefix already.
    """

    name: str
    help: str
    kind: Kind = "counter"
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    lasts: float | None = None
    of_sdk: bool = False

    def full_name(self, prefix: str) -> str:
        """Returns the name with the prefix of the product's own names."""
        return self.name if self.of_sdk else f"{prefix}{self.name}"

    @property
    def size(self) -> int:
        """Returns how many numbers a series has: a counter's value; a gauge's, and when it was set; buckets and sum."""
        return {"counter": 1, "gauge": 2, "histogram": len(self.bounds) + 2}[self.kind]


def _durations(name: str, about: str, labels: tuple[str, ...], bounds: Sequence[float] = QUICK) -> Family:
    return Family(name, about, "histogram", labels, tuple(bounds))


BACKLOG_SECONDS = 90.0
"""For how long a look at what waits is shown, three of them: the worker that looks may change."""
_HTTP = ("endpoint", "method", "status", "tenant_id")

HTTP_REQUESTS = Family("http_requests_total", "HTTP requests by route template.", labels=_HTTP)
HTTP_DURATION = _durations(
    "http_request_duration_seconds", "Seconds until an answer was complete; of a stream, until it began.", _HTTP
)

AGENT_EXECUTIONS = Family("agent_executions_total", "Ended runs.", labels=("agent_id", "status", "tenant_id"))
AGENT_DURATION = _durations(
    "agent_execution_duration_seconds",
    "Seconds from a run's creation to its end, waits for people included.",
    ("agent_id", "tenant_id"),
    SLOW,
)
AGENT_STEPS = Family("agent_steps_total", "Steps of ended runs.", labels=("agent_id", "tenant_id"))
AGENT_TOKENS = Family("agent_tokens_total", "Input and output tokens of ended runs.", labels=("agent_id", "tenant_id"))

TOOL_EXECUTIONS = Family("tool_executions_total", "Tool calls that ran.", labels=("tool_name", "status", "tenant_id"))
TOOL_DURATION = _durations("tool_execution_duration_seconds", "Seconds of a tool call.", ("tool_name", "tenant_id"))

LLM_CALLS = Family("llm_calls_total", "Calls to models.", labels=("model", "status", "tenant_id"))
LLM_FAILURES = Family("llm_failures_total", "Calls without a usable reply, by error code.", labels=("model", "code"))
LLM_DURATION = _durations("llm_call_duration_seconds", "Seconds of a model call.", ("model", "status"))
LLM_TOKENS = Family(
    "llm_tokens_total",
    "Tokens: input (cached ones left out), cached input, output.",
    labels=("model", "type", "tenant_id"),
)
LLM_WASTED = Family("llm_wasted_tokens_total", "Tokens of calls without a usable reply.", labels=("model", "tenant_id"))
LLM_COST = Family(
    "llm_cost_total", "Cost of model calls whose price is known.", labels=("currency", "model", "tenant_id")
)
LLM_UNPRICED = Family(
    "llm_unpriced_calls_total", "Model calls whose price is not known.", labels=("model", "tenant_id")
)

APPROVALS_REQUESTED = Family("approvals_requested_total", "Requests for approval.", labels=("type", "tenant_id"))
APPROVALS_DECIDED = Family("approvals_decided_total", "Decisions of people.", labels=("type", "verdict", "tenant_id"))
APPROVALS_CLOSED = Family(
    "approvals_closed_total",
    "Requests that were closed, expired ones among them.",
    labels=("type", "status", "tenant_id"),
)
APPROVAL_AGE = _durations(
    "approval_age_seconds", "Age of requests when they were closed, in seconds.", ("type", "status"), SLOW
)
APPROVALS_PENDING = Family(
    "approvals_pending", "Requests that wait for people.", "gauge", ("tenant_id",), lasts=BACKLOG_SECONDS
)
APPROVALS_OLDEST = Family(
    "approvals_oldest_pending_seconds",
    "Age of the request that waits for people for longest.",
    "gauge",
    ("tenant_id",),
    lasts=BACKLOG_SECONDS,
)

WEBHOOK_ATTEMPTS = Family(
    "webhook_attempts_total",
    "Attempts to deliver to webhooks, by what became of the delivery.",
    labels=("status", "tenant_id"),
)
WEBHOOK_DURATION = _durations("webhook_attempt_duration_seconds", "Seconds of an attempt to deliver.", ("status",))

SWEEP_LATE_TENANTS = Family(
    "sweep_late_tenants",
    "Tenants with rows that a sweep is late to look after.",
    "gauge",
    ("kind",),
    lasts=BACKLOG_SECONDS,
)
SWEEP_LATE = Family(
    "sweep_late_seconds",
    "For how long the oldest of such rows has been due; 0 where none is late.",
    "gauge",
    ("kind",),
    lasts=BACKLOG_SECONDS,
)
KILL_SWITCHES = Family(
    "kill_switches_pulled", "Kill switches that are pulled.", "gauge", ("scope",), lasts=BACKLOG_SECONDS
)
KILL_SWITCH_CHANGES = Family(
    "kill_switch_changes_total", "Kill switches pulled and released.", labels=("change", "tenant_id")
)

_BUDGET = ("budget_id", "unit", "tenant_id")
BUDGET_LIMIT = Family(
    "budget_limit", "Limit of a budget's fullest ledger, as it is raised.", "gauge", _BUDGET, lasts=BACKLOG_SECONDS
)
BUDGET_SPENT = Family("budget_spent", "What is used of that ledger.", "gauge", _BUDGET, lasts=BACKLOG_SECONDS)
BUDGET_RESERVED = Family(
    "budget_reserved", "What calls under way may use of it.", "gauge", _BUDGET, lasts=BACKLOG_SECONDS
)
BUDGET_LIMITS_REACHED = Family(
    "budget_limits_reached_total",
    "Soft limits passed, and calls that a hard limit refused.",
    labels=("limit", "tenant_id"),
)

SIGN_IN_FAILURES = Family("sign_in_failures_total", "Credentials that were refused, by reason.", labels=("reason",))
ACCESS_DENIALS = Family(
    "access_denials_total", "Requests that were refused by rights or policy.", labels=("reason", "tenant_id")
)
API_KEY_CHANGES = Family("api_key_changes_total", "API keys issued and revoked.", labels=("change", "tenant_id"))

ACTIVITIES = Family("activities_total", "Attempts of activities.", labels=("activity", "outcome"))
ACTIVITY_DURATION = _durations("activity_duration_seconds", "Seconds of an attempt of an activity.", ("activity",))

FOLDED = Family(
    "metrics_folded_total",
    "Counts whose label value went into `other`, beyond the limit of its label.",
    labels=("label",),
)
