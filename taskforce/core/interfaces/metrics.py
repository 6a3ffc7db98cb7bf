"""What the metrics count: what has happened, and the protocol of whoever counts it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from taskforce.core.domain.audit.events import AuditEvent


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """A call to a model.

    Attributes:
        model: The LiteLLM name.
        seconds: Its duration.
        input_tokens: Tokens of the prompt, cached ones included.
        output_tokens: Tokens of the reply.
        cached_tokens: Input tokens from the provider's cache.
        failed: The error code of a call without a usable reply; else None.
        cost: What it cost; None where no price is known.
        currency: The currency of the cost.
    """

    model: str
    seconds: float
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    failed: str | None = None
    cost: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class ToolRan:
    """A run of a tool.

    Attributes:
        tool: Its name.
        status: How it ended, for example `succeeded` or `failed`.
        seconds: Its duration.
    """

    tool: str
    status: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end of a run.

    Attributes:
        agent_id: The agent.
        status: The final status, for example `completed`.
        seconds: From its creation to its end, waits for people included.
        steps: Its steps.
        tokens: Input and output tokens.
    """

    agent_id: str
    status: str
    seconds: float
    steps: int
    tokens: int


@dataclass(frozen=True, slots=True)
class RequestChanged:
    """An event of a request for approval.

    Attributes:
        request_type: The type of the request, for example `tool_call`.
        change: The event: `created`, `approved_by`, `rejected_by`, or the status in which it was closed.
        age_seconds: The age of the request.
    """

    request_type: str
    change: str
    age_seconds: float


@dataclass(frozen=True, slots=True)
class DeliveryTried:
    """An attempt to deliver an event to a webhook.

    Attributes:
        status: The status of the delivery after it, for example `delivered`.
        seconds: Its duration.
    """

    status: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """An HTTP request that was answered.

    Attributes:
        endpoint: The template of its route.
        method: Its method.
        status: The status of the answer.
        seconds: Until the answer was complete; of a stream, until it began.
    """

    endpoint: str
    method: str
    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ActivityEnded:
    """An attempt of an activity that has ended.

    Attributes:
        activity: The type of the activity.
        outcome: `succeeded`, `failed` or `cancelled`.
        seconds: Its duration.
    """

    activity: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RowsLate:
    """Rows that sweeps are late to look after, of all tenants.

    Attributes:
        kind: The kind of rows.
        tenants: How many tenants have such rows.
        seconds: For how long the oldest of them has been due.
    """

    kind: str
    tenants: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestsPending:
    """A tenant's requests for approval that wait for people.

    Attributes:
        requests: Their number.
        oldest_seconds: The age of the oldest.
    """

    requests: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class SwitchesPulled:
    """Pulled kill switches of all tenants.

    Attributes:
        scope: What they halt.
        number: Their number.
    """

    scope: str
    number: int


@dataclass(frozen=True, slots=True)
class BudgetUsed:
    """The use of a budget in its current period, of its fullest ledger.

    Attributes:
        budget_id: The budget.
        unit: The currency, or `tokens` or `runs`.
        limit: The limit, as it is raised.
        spent: What is used.
        reserved: What calls that are under way may use.
    """

    budget_id: str
    unit: str
    limit: Decimal
    spent: Decimal
    reserved: Decimal


Fact = (
    AuditEvent
    | ModelCalled
    | ToolRan
    | RunEnded
    | RequestChanged
    | DeliveryTried
    | RequestAnswered
    | ActivityEnded
    | RowsLate
    | RequestsPending
    | SwitchesPulled
    | BudgetUsed
)


class FactObserver(Protocol):
    """Learns of committed facts."""

    def observed(self, tenant_id: str, facts: Sequence[Fact]) -> None:
        """Takes note of what has happened, of a transaction after its commit; must neither block nor raise.

        Args:
            tenant_id: The tenant; empty where it is of none, or not known.
            facts: The facts.
        """
        ...


class Observers:
    """Tells several observers of facts; without any it forgets them.

    Args:
        *observers: Those who are told.
    """

    def __init__(self, *observers: FactObserver) -> None:
        self._observers = list(observers)

    def observed(self, tenant_id: str, facts: Sequence[Fact]) -> None:
        """Tells each of them."""
        for one in self._observers if facts else ():
            one.observed(tenant_id, facts)


@dataclass(frozen=True, slots=True)
class SdkMetric:
    """A metric of Temporal's SDK.

    Attributes:
        name: Its name, with the unit and, for a counter, `_total`.
        help: What it counts.
        kind: How it counts.
    """

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class SdkValues:
    """Values that the SDK has recorded for a metric.

    Attributes:
        metric: The metric.
        attributes: Its attributes.
        values: Of a counter what it has grown by, else what was observed, the newest last.
    """

    metric: SdkMetric
    attributes: Mapping[str, str]
    values: Sequence[float]
