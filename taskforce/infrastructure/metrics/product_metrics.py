"""What the product's facts count as in the metrics."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

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
    SwitchesPulled,
    ToolRan,
)
from taskforce.infrastructure.metrics import families as named
from taskforce.infrastructure.metrics.series import OTHER, SeriesStore

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_STATUSES = frozenset(range(HTTPStatus.CONTINUE, 600))
_VERDICTS = MappingProxyType({"approved_by": "approve", "rejected_by": "reject"})
_LIMITS = MappingProxyType({"budget.soft_limit": "soft", "budget.exceed": "hard"})
_CLOSED = frozenset({"approved", "rejected", "expired", "withdrawn", "voided"})


class ProductMetrics:
    """Counts facts in series; fulfils `FactObserver`.

    Args:
        store: What is counted in.
    """

    def __init__(self, store: SeriesStore) -> None:
        self._store = store
        self._by_kind: Mapping[type, Callable[[str, Any], None]] = {
            RequestAnswered: self._request,
            ActivityEnded: self._activity,
            RunEnded: self._run,
            ToolRan: self._tool,
            ModelCalled: self._model,
            RequestChanged: self._approval,
            DeliveryTried: self._delivery,
            AuditEvent: self._event,
            RowsLate: self._late,
            RequestsPending: self._pending,
            SwitchesPulled: self._switches,
            BudgetUsed: self._budget,
        }

    def observed(self, tenant_id: str, facts: Sequence[Fact]) -> None:
        """Counts what has happened."""
        for fact in facts:
            self._by_kind[type(fact)](tenant_id, fact)

    def _request(self, tenant_id: str, fact: RequestAnswered) -> None:
        method = fact.method if fact.method in METHODS else OTHER
        status = str(fact.status) if fact.status in _STATUSES else OTHER
        labels = (fact.endpoint, method, status, tenant_id)
        self._store.add(named.HTTP_REQUESTS, labels)
        self._store.observe(named.HTTP_DURATION, labels, fact.seconds)

    def _activity(self, _: str, fact: ActivityEnded) -> None:
        self._store.add(named.ACTIVITIES, (fact.activity, fact.outcome))
        self._store.observe(named.ACTIVITY_DURATION, (fact.activity,), fact.seconds)

    def _run(self, tenant_id: str, fact: RunEnded) -> None:
        self._store.add(named.AGENT_EXECUTIONS, (fact.agent_id, fact.status, tenant_id))
        self._store.observe(named.AGENT_DURATION, (fact.agent_id, tenant_id), fact.seconds)
        self._store.add(named.AGENT_STEPS, (fact.agent_id, tenant_id), fact.steps)
        self._store.add(named.AGENT_TOKENS, (fact.agent_id, tenant_id), fact.tokens)

    def _tool(self, tenant_id: str, fact: ToolRan) -> None:
        self._store.add(named.TOOL_EXECUTIONS, (fact.tool, fact.status, tenant_id))
        self._store.observe(named.TOOL_DURATION, (fact.tool, tenant_id), fact.seconds)

    def _model(self, tenant_id: str, fact: ModelCalled) -> None:
        store, model, status = self._store, fact.model, "succeeded" if fact.failed is None else "failed"
        store.add(named.LLM_CALLS, (model, status, tenant_id))
        store.observe(named.LLM_DURATION, (model, status), fact.seconds)
        # Disjoint, so that they add up; a provider may report more cached tokens than there are.
        cached = min(fact.cached_tokens, fact.input_tokens)
        parts = {"input": fact.input_tokens - cached, "cached": cached, "output": fact.output_tokens}
        for kind, tokens in parts.items():
            store.add(named.LLM_TOKENS, (model, kind, tenant_id), max(tokens, 0))
        if fact.failed is not None:
            store.add(named.LLM_FAILURES, (model, fact.failed))
            store.add(named.LLM_WASTED, (model, tenant_id), max(fact.input_tokens + fact.output_tokens, 0))
        if fact.cost is None:
            store.add(named.LLM_UNPRICED, (model, tenant_id))
        else:
            store.add(named.LLM_COST, (fact.currency or "", model, tenant_id), float(fact.cost))

    def _approval(self, tenant_id: str, fact: RequestChanged) -> None:
        type_, change = fact.request_type, fact.change
        if change == "created":
            self._store.add(named.APPROVALS_REQUESTED, (type_, tenant_id))
        elif change in _VERDICTS:
            self._store.add(named.APPROVALS_DECIDED, (type_, _VERDICTS[change], tenant_id))
        elif change in _CLOSED:
            self._store.add(named.APPROVALS_CLOSED, (type_, change, tenant_id))
            self._store.observe(named.APPROVAL_AGE, (type_, change), fact.age_seconds)

    def _delivery(self, tenant_id: str, fact: DeliveryTried) -> None:
        self._store.add(named.WEBHOOK_ATTEMPTS, (fact.status, tenant_id))
        self._store.observe(named.WEBHOOK_DURATION, (fact.status,), fact.seconds)

    def _late(self, _: str, fact: RowsLate) -> None:
        self._store.set(named.SWEEP_LATE_TENANTS, (fact.kind,), fact.tenants)
        self._store.set(named.SWEEP_LATE, (fact.kind,), fact.seconds)

    def _pending(self, tenant_id: str, fact: RequestsPending) -> None:
        self._store.set(named.APPROVALS_PENDING, (tenant_id,), fact.requests)
        self._store.set(named.APPROVALS_OLDEST, (tenant_id,), fact.oldest_seconds)

    def _switches(self, _: str, fact: SwitchesPulled) -> None:
        self._store.set(named.KILL_SWITCHES, (fact.scope,), fact.number)

    def _budget(self, tenant_id: str, fact: BudgetUsed) -> None:
        labels = (fact.budget_id, fact.unit, tenant_id)
        for family, amount in (
            (named.BUDGET_LIMIT, fact.limit),
            (named.BUDGET_SPENT, fact.spent),
            (named.BUDGET_RESERVED, fact.reserved),
        ):
            self._store.set(family, labels, float(amount))

    def _event(self, tenant_id: str, event: AuditEvent) -> None:
        subject, _, change = event.action.partition(".")
        if event.action == "auth.failed":
            # Those that are alike within a second are one event with their number.
            count = (event.details or {}).get("count", 1)
            self._store.add(named.SIGN_IN_FAILURES, (event.reason or "",), count if isinstance(count, int) else 1)
        elif event.action in _LIMITS:
            self._store.add(named.BUDGET_LIMITS_REACHED, (_LIMITS[event.action], tenant_id))
        elif event.outcome == "denied":
            self._store.add(named.ACCESS_DENIALS, (_code(event.reason), tenant_id))
        elif subject == "kill_switch":
            self._store.add(named.KILL_SWITCH_CHANGES, (change, tenant_id))
        elif subject == "api_key":
            self._store.add(named.API_KEY_CHANGES, (change, tenant_id))


def _code(reason: str | None) -> str:
    # A code of ours; a reason in words could be anything.
    return reason if reason and reason.isidentifier() else OTHER
