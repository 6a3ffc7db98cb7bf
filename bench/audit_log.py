"""Cost of sealing the audit log: looks with few and with many tenants, after a short and after a long log."""

import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from uuid import uuid4

import asyncpg

from bench.stack import BenchStack, Say
from taskforce.application.audit.export import Export, export_lines
from taskforce.application.audit.sealing import seal_all, seal_tenant

LOOKS = 20
_FILL = """
INSERT INTO audit_events (tenant_id, audit_id, actor_id, channel, action, resource_type, resource_id, outcome, details,
                          at)
SELECT $1, gen_random_uuid(), 'alice', 'api', 'run.pause', 'run', n::text, 'allowed', '{}', now()
FROM generate_series(1, $2::int) n
"""


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """Sets how much is measured.

    Attributes:
        tenants: Few tenants, and many; each has one sealed event.
        events: A short sealed log, and a long one.
    """

    tenants: tuple[int, int] = (100, 10_000)
    events: tuple[int, int] = (1_000, 300_000)


QUICK_AUDIT = AuditPlan((100, 1_000), (1_000, 30_000))


@dataclass(frozen=True, slots=True)
class LookRow:
    """Holds milliseconds of a look for what is unsealed, where nothing is, beside a few and beside many."""

    what: str
    few: int
    many: int
    few_ms: float
    many_ms: float

    @property
    def ratio(self) -> float:
        """Returns the time beside many over that beside few."""
        return self.many_ms / self.few_ms


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Holds all measurements of the audit log.

    Attributes:
        looks: The looks.
        sealed_per_second: Events of one tenant that are sealed in a second.
        exported_per_second: Events that an export reads in a second.
        export_mb: Growth of the process's peak memory during the export.
    """

    looks: tuple[LookRow, ...]
    sealed_per_second: float
    exported_per_second: float
    export_mb: float


async def measure_audit(stack: BenchStack, plan: AuditPlan, say: Say) -> AuditLog:
    """Measures sealing and exporting, without workers.

    Args:
        stack: The running stack.
        plan: How much.
        say: Receives progress messages.
    """
    prefix, passes = f"bench-{uuid4().hex[:8]}", list[float]()
    for before, number in zip((0, *plan.tenants), plan.tenants, strict=False):
        say(f"sealing an event of each of {number} tenants")
        for one in range(before, number):
            await _append(stack, f"{prefix}-{one}", 1)
        await _seal_all(stack)
        passes.append(await _looks(lambda: _seal_all(stack)))
    log, looks, rate = f"{prefix}-log", list[float](), 0.0
    for before, number in zip((0, *plan.events), plan.events, strict=False):
        say(f"sealing a log of {number} events")
        await _append(stack, log, number - before)
        rate = (number - before) / await _seconds(lambda: seal_tenant(stack.database, log))
        looks.append(await _looks(lambda: seal_tenant(stack.database, log)))
    say("exporting it")
    exported, grown = await _export(stack, log)
    rows = (LookRow("tenants", *plan.tenants, *passes), LookRow("events of the tenant", *plan.events, *looks))
    return AuditLog(rows, rate, exported, grown)


async def _seal_all(stack: BenchStack) -> int:
    return await seal_all(stack.database, stack.database, lambda: datetime.now(UTC))


async def _append(stack: BenchStack, tenant_id: str, number: int) -> None:
    """Appends events as one statement: one at a time takes longer than all that is measured."""
    await stack.database.register_tenant(tenant_id, datetime.now(UTC))
    connection = await asyncpg.connect(stack.environment["DATABASE_URL"])
    await connection.execute("SELECT set_config('app.tenant_id', $1, false)", tenant_id)
    await connection.execute(_FILL, tenant_id, number)
    await connection.close()


async def _export(stack: BenchStack, tenant_id: str) -> tuple[float, float]:
    """Returns events per second, and the growth of the peak memory in MB."""
    async with stack.database.tenant(tenant_id) as records:
        export = Export(await records.audit.start(), (await records.audit.end())[0])

    async def read() -> int:
        return sum([len(lines) async for lines in export_lines(stack.database, export, _always)])

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = await _seconds(read)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return export.end.seq / seconds, grown / 1_024


async def _looks(look: Callable[[], Awaitable[int]]) -> float:
    """Returns the median milliseconds of a look that finds nothing."""
    return median([await _seconds(look) for _ in range(LOOKS)]) * 1_000


async def _seconds(work: Callable[[], Awaitable[int]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _always() -> bool:
    return True
