"""Pages of lists: a tenant with a thousand rows beside one with a million, by turns, in the same tables."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median, quantiles

import asyncpg

from bench.list_rows import AGENT, PERSON, ROBOT, ROBOTS_AGENT, SESSION, WEBHOOK, fill
from bench.stack import BenchStack, Say
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.records import Approver, RequestFilter
from taskforce.core.domain.audit.events import AuditFilter
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.records import RunFilter
from taskforce.core.domain.runs.run import RunStatus
from taskforce.core.interfaces.repositories.identity import UserFilter
from taskforce.infrastructure.persistence.tenant_records import TenantRecords

FEW_ROWS, STEPS = 1_000, 10
FEW, MANY = "few-rows", "many-rows"
_PAGE = Page(21)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_DECIDER, _NOBODY = Approver(PERSON, frozenset({"approver"})), Approver("nobody", frozenset({"chat_user"}))
Ask = Callable[[TenantRecords], Awaitable[Sequence[object]]]

ASKED: Mapping[str, Ask] = {
    "runs": lambda records: records.runs.page(RunFilter(), _PAGE),
    "runs, mine, a person": lambda records: records.runs.page(RunFilter(user_id=PERSON), _PAGE),
    "runs, mine, who has half of them": lambda records: records.runs.page(RunFilter(user_id=ROBOT), _PAGE),
    "runs of an agent": lambda records: records.runs.page(RunFilter(agent_id=AGENT), _PAGE),
    "runs of an agent with half of them": lambda records: records.runs.page(RunFilter(agent_id=ROBOTS_AGENT), _PAGE),
    "runs, failed": lambda records: records.runs.page(RunFilter(RunStatus.FAILED), _PAGE),
    "runs, failed, of an agent that never fails": lambda records: records.runs.page(
        RunFilter(RunStatus.FAILED, agent_id=ROBOTS_AGENT), _PAGE
    ),
    "runs, mine, of an agent": lambda records: records.runs.page(RunFilter(user_id=ROBOT, agent_id=AGENT), _PAGE),
    "runs of a session": lambda records: records.runs.page(RunFilter(session_id=SESSION), _PAGE),
    "requests, expired": lambda records: records.requests.page(RequestFilter(ApprovalStatus.EXPIRED), _PAGE),
    "requests of a type": lambda records: records.requests.page(RequestFilter(request_type="data_export"), _PAGE),
    "requests, pending": lambda records: records.requests.pending(_PAGE),
    "requests of whoever may decide all": lambda records: records.requests.page(RequestFilter(), _PAGE, _DECIDER),
    "requests of whoever may decide none": lambda records: records.requests.page(RequestFilter(), _PAGE, _NOBODY),
    "requests, pending, of whoever may decide none": lambda records: records.requests.pending(_PAGE, _NOBODY),
    "events of a rare kind, denied": lambda records: records.audit.page(
        AuditFilter(resource_type="role", outcome="denied"), _PAGE
    ),
    "events of a period": lambda records: records.audit.page(AuditFilter(until=_NOW), _PAGE),
    "service accounts": lambda records: records.users.page(UserFilter("service"), None, 21),
    "API keys": lambda records: records.keys.page(None, 21),
    "deliveries of a webhook": lambda records: records.deliveries.page(WEBHOOK, _PAGE),
}


@dataclass(frozen=True, slots=True)
class ListRow:
    """Holds the measurements of one list.

    Attributes:
        what: The list and its filters.
        few_p50_ms, few_p99_ms: Milliseconds of a page of the tenant with a thousand rows, at two percentiles.
        p50_ms, p99_ms: The same of the tenant with many.
    """

    what: str
    few_p50_ms: float
    few_p99_ms: float
    p50_ms: float
    p99_ms: float

    @property
    def ratio(self) -> float:
        """Returns how much longer the page of many takes."""
        return self.p50_ms / self.few_p50_ms


@dataclass(frozen=True, slots=True)
class Lists:
    """Holds the measurements of lists.

    Attributes:
        rows: Rows of the large tenant; a thousand is the other's.
        steps: Entries of transcripts of the large tenant.
        lists: The measurements.
    """

    rows: int
    steps: int
    lists: Sequence[ListRow]


async def measure_lists(stack: BenchStack, rows: int, rounds: int, say: Say) -> Lists:
    """Fills both tenants and measures every list.

    Args:
        stack: The stack; no process of the product is needed.
        rows: Rows of the large tenant in each table, with ten steps for each run.
        rounds: Pages of each list and tenant.
        say: Receives progress messages.
    """
    admin = await asyncpg.connect(stack.admin_url)
    try:
        for tenant, count in ((FEW, FEW_ROWS), (MANY, rows)):
            say(f"making {count} rows in each table, and {count * STEPS} steps")
            await stack.database.register_tenant(tenant, _NOW)
            await fill(admin, tenant, count, STEPS)
    finally:
        await admin.close()
    found = []
    for what, ask in ASKED.items():
        say(f"paging through lists: {what}")
        found.append(await _measured(stack, what, ask, rounds))
    return Lists(rows, rows * STEPS, found)


async def _measured(stack: BenchStack, what: str, ask: Ask, rounds: int) -> ListRow:
    times: dict[str, list[float]] = {FEW: [], MANY: []}
    for _ in range(rounds):
        for tenant, taken in times.items():
            async with stack.database.tenant(tenant) as records:
                began = time.perf_counter()
                await ask(records)
                taken.append((time.perf_counter() - began) * 1_000)
        await asyncio.sleep(0)
    few, many = times[FEW], times[MANY]
    return ListRow(what, median(few), quantiles(few, n=100)[98], median(many), quantiles(many, n=100)[98])
