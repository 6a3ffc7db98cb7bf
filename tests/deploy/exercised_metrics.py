"""Metrics in which everything has happened that they count."""

from datetime import UTC, datetime
from decimal import Decimal

from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.interfaces.metrics import (
    ActivityEnded,
    BudgetUsed,
    DeliveryTried,
    Fact,
    ModelCalled,
    RequestAnswered,
    RequestChanged,
    RequestsPending,
    RowsLate,
    RunEnded,
    SdkMetric,
    SdkValues,
    SwitchesPulled,
    ToolRan,
)
from taskforce.infrastructure.metrics.process_metrics import ProcessMetrics

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANTS = ("acme", "umbrella")


def _event(action: str, outcome: str = "allowed", reason: str | None = None) -> AuditEvent:
    return AuditEvent("ada", action, "thing", "1", outcome, NOW, reason)


FACTS: tuple[Fact, ...] = (
    *(RequestAnswered("/api/v1/agents/execute", "POST", status, 0.2) for status in (202, 404, 503)),
    ActivityEnded("call_model", "succeeded", 1.0),
    *(RunEnded("helper", status, 8.5, 3, 700) for status in ("completed", "failed")),
    ToolRan("calculator", "succeeded", 0.1),
    ModelCalled("openai/gpt-4o", 2.0, 1_000, 200, 400, cost=Decimal("0.0125"), currency="USD"),
    ModelCalled("openai/gpt-4o", 2.0, 1_000, 0, failed="model_unavailable"),
    *(RequestChanged("tool_call", change, 600) for change in ("created", "approved_by", "approved", "expired")),
    DeliveryTried("delivered", 0.3),
    RowsLate("runs.start", 1, 12.0),
    RequestsPending(2, 3_600.0),
    SwitchesPulled("installation", 0),
    BudgetUsed("b-1", "USD", limit=Decimal(100), spent=Decimal("62.5"), reserved=Decimal(5)),
    _event("budget.soft_limit"),
    _event("budget.exceed", "denied", "budget_exceeded"),
    _event("auth.failed", "denied", "token_expired"),
    _event("access.denied", "denied", "permission_denied"),
    _event("kill_switch.pull"),
    _event("api_key.create"),
)
SDK = (
    SdkValues(SdkMetric("temporal_worker_task_slots_used", "Slots in use.", "gauge"), {"worker_type": "A"}, [9]),
    SdkValues(
        SdkMetric("temporal_workflow_task_schedule_to_start_latency_seconds", "Wait.", "histogram"), {}, [0.1, 0.2]
    ),
    SdkValues(SdkMetric("temporal_request_total", "Requests.", "counter"), {"operation": "PollX"}, [3]),
)


def exercise(metrics: ProcessMetrics) -> None:
    """Lets everything happen once, to two tenants."""
    for tenant in TENANTS:
        metrics.product.observed(tenant, FACTS)
    metrics.sdk.add(SDK)
