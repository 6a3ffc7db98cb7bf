"""Output of results: tables for people, JSON for programs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.access import AccessRow
from bench.approvals import Approvals, Waiting
from bench.audit_log import AuditLog
from bench.budgets import BudgetRow
from bench.cpu_shares import Where
from bench.fairness import Fairness
from bench.history import HistoryRow, LongRun
from bench.lists import FEW_ROWS, Lists
from bench.metrics import Exposition
from bench.runs import Row
from bench.usage import Usage


@dataclass(slots=True)
class Results:
    """Holds all measurements."""

    runs: list[Row] = field(default_factory=list)
    where: list[Where] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    long_run: LongRun | None = None
    access: list[AccessRow] = field(default_factory=list)
    approvals: Approvals | None = None
    audit: AuditLog | None = None
    lists: Lists | None = None
    metrics: Exposition | None = None
    fairness: Fairness | None = None
    usage: Usage | None = None
    budgets: list[BudgetRow] = field(default_factory=list)

    def add(self, other: "Results") -> None:
        """Adds the measurements of another part."""
        self.runs += other.runs
        self.where += other.where
        self.history += other.history
        self.access += other.access
        self.budgets += other.budgets
        self.long_run = other.long_run or self.long_run
        self.approvals = other.approvals or self.approvals
        self.audit = other.audit or self.audit
        self.lists = other.lists or self.lists
        self.metrics = other.metrics or self.metrics
        self.fairness = other.fairness or self.fairness
        self.usage = other.usage or self.usage

    def as_dict(self) -> dict[str, object]:
        """Returns the measurements for JSON."""
        return asdict(self)


def show(results: Results, console: Console) -> None:
    """Prints the measurements."""
    for table in _tables(results):
        console.print(table)


def _tables(results: Results) -> Iterator[Table]:
    if results.runs:
        yield from (_runs_table(results.runs), _cpu_table(results.runs))
    yield from map(_where_table, results.where)
    if results.approvals:
        yield from (_waiting_table(results.approvals.waiting), _compared_table(results.approvals))
    shown: Sequence[tuple[Any, Callable[[Any], Table]]] = (
        (results.history, _history_table),
        (results.long_run, _long_table),
        (results.access, _access_table),
        (results.audit, _audit_table),
        (results.lists, _lists_table),
        (results.metrics, _metrics_table),
        (results.fairness, _fairness_table),
        (results.usage, _usage_table),
        (results.budgets, _budgets_table),
    )
    yield from (table(measured) for measured, table in shown if measured)


def _fairness_table(measured: Fairness) -> Table:
    table = Table(
        title=f"First step of a quiet tenant's run, beside {measured.busy_runs} runs of another; milliseconds"
    )
    for name in ("alone, first step", "alone, whole run", "beside, each first step", "busy runs ended before, after"):
        table.add_column(name, justify="right")
    beside = ", ".join(f"{one:.0f}" for one in measured.beside_ms)
    ended = ", ".join(map(str, measured.ended))
    table.add_row(f"{measured.alone_ms:.0f}", f"{measured.run_ms:.0f}", beside, ended)
    return table


def _runs_table(rows: Sequence[Row]) -> Table:
    table = Table(title="Runs of five model calls and four tool calls; ratios are of runs per second in the same round")
    for name in ("tool", "at a time", "kind", "runs/s", "of honest", "of floor", "p50 ms", "p99 ms", "own ms/step"):
        table.add_column(name, justify="left" if name in {"tool", "kind"} else "right")
    for row in sorted(rows, key=lambda row: (row.at_a_time, row.tool)):
        own = f"{row.own_ms_per_step:.1f}" if row.kind != "floor" and row.at_a_time == 1 else ""
        numbers = (f"{row.runs_per_second:.1f}", f"{row.to_honest:.2f}", f"{row.to_floor:.2f}")
        table.add_row(row.tool, str(row.at_a_time), row.kind, *numbers, f"{row.p50_ms:.0f}", f"{row.p99_ms:.0f}", own)
    return table


def _cpu_table(rows: Sequence[Row]) -> Table:
    table = Table(title="CPU milliseconds a run, by process (`bench` is the caller)")
    names = list(rows[0].cpu_ms)
    for name in ("tool", "at a time", "kind", *names, "sum"):
        table.add_column(name, justify="left" if name in {"tool", "kind"} else "right")
    for row in sorted(rows, key=lambda row: (row.at_a_time, row.tool)):
        used = [f"{row.cpu_ms[name]:.0f}" for name in names]
        table.add_row(row.tool, str(row.at_a_time), row.kind, *used, f"{sum(row.cpu_ms.values()):.0f}")
    return table


def _where_table(where: Where) -> Table:
    table = Table(title=f"Where CPU time goes, {where.at_a_time} at a time, quick tool: milliseconds a run")
    table.add_column("process or part")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    processes = {name: used for name, used in where.processes.items() if name not in {"worker", "baseline"}}
    total = sum(processes.values())
    for name, used in processes.items():
        table.add_row(name, f"{used:.1f}", f"{used / total:.0%}")
    table.add_section()
    within = sum(where.parts.values())
    for name, used in where.parts.items():
        table.add_row(f"sampled: {name}", f"{used:.1f}", f"{used / within:.0%}")
    return table


def _history_table(rows: Sequence[HistoryRow]) -> Table:
    table = Table(title="What one more step adds to a history")
    for name in ("tool", "bytes", "events"):
        table.add_column(name, justify="left" if name == "tool" else "right")
    for row in rows:
        table.add_row(row.tool, f"{row.bytes_per_step:.0f}", f"{row.events_per_step:.1f}")
    return table


def _long_table(run: LongRun) -> Table:
    table = Table(title=f"A run of {run.steps} steps ({run.status}), {run.parts} executions, {run.seconds:.0f} s")
    for name in ("", "first steps", "last steps", "last / first"):
        table.add_column(name, justify="left" if not name else "right")
    for name, first, last in (
        ("ms a step, without the model", run.first_ms, run.last_ms),
        ("ms of the model's call", run.first_model_ms, run.last_model_ms),
    ):
        table.add_row(name, f"{first:.1f}", f"{last:.1f}", f"{last / max(first, 0.1):.2f}")
    table.add_section()
    table.add_row("bytes of history", f"{run.bytes}", f"{run.bytes_per_step:.0f} a step", "")
    return table


def _access_table(rows: Sequence[AccessRow]) -> Table:
    table = Table(title="One route without its guard and with it, by turns: milliseconds of a request")
    columns = ("credential", "tenant", "p50", "guarded", "added", "ratio", "p99", "guarded", "statements")
    for name in columns:
        table.add_column(name, justify="left" if name in {"credential", "tenant"} else "right")
    for row in rows:
        middle = (row.open_p50_ms, row.p50_ms, row.added_ms, row.ratio)
        numbers = (*middle, row.open_p99_ms, row.p99_ms)
        table.add_row(row.credential, row.tenant, *(f"{one:.2f}" for one in numbers), f"{row.statements:.1f}")
    return table


def _waiting_table(waiting: Waiting) -> Table:
    table = Table(title=f"{waiting.pending} pending requests: the worker's resident memory")
    for name in ("", "MB", "KB a pending request"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("none pending", f"{waiting.before_mb:.0f}", "")
    table.add_row(f"{waiting.pending} pending", f"{waiting.open_mb:.0f}", f"{waiting.kb_per_request:.1f}")
    table.add_row("the same, left alone", f"{waiting.idle_mb:.0f}", f"{waiting.idle_kb_per_request:.1f}")
    table.add_section()
    table.add_row("requests asked for a second", f"{waiting.asked_per_second:.0f}", "")
    table.add_row("CPU of the worker, left alone", f"{waiting.idle_cpu:.1%}", "")
    return table


def _compared_table(found: Approvals) -> Table:
    pending = found.waiting.pending
    table = Table(
        title=f"Milliseconds over HTTP, by turns on a stack with few pending requests and on one with {pending}"
    )
    for name in ("", "few: p50", "p99", f"{pending}: p50", "p99", "ratio of p50", "of p99"):
        table.add_column(name, justify="left" if not name else "right")
    for row in found.compared:
        numbers = (row.few_p50, row.few_p99, row.p50, row.p99)
        ratios = (row.ratio, row.p99 / row.few_p99)
        table.add_row(row.what, *(f"{one:.1f}" for one in numbers), *(f"{one:.2f}" for one in ratios))
    return table


def _audit_table(found: AuditLog) -> Table:
    table = Table(title="The audit log: milliseconds of a look for what is unsealed, where nothing is")
    for name in ("beside", "few", "ms", "many", "ms", "ratio"):
        table.add_column(name, justify="left" if name == "beside" else "right")
    for row in found.looks:
        table.add_row(
            row.what, f"{row.few}", f"{row.few_ms:.1f}", f"{row.many}", f"{row.many_ms:.1f}", f"{row.ratio:.2f}"
        )
    table.add_section()
    table.add_row("events sealed a second", "", "", "", f"{found.sealed_per_second:.0f}", "")
    table.add_row("events exported a second", "", "", "", f"{found.exported_per_second:.0f}", "")
    table.add_row("peak memory of the export, MB more", "", "", "", f"{found.export_mb:.1f}", "")
    return table


def _metrics_table(found: Exposition) -> Table:
    table = Table(title=f"Metrics of {found.tenants} tenants, {found.lines} lines, beside prometheus_client")
    for name in ("", "ours", "prometheus_client", "ratio"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("one exposition, ms", f"{found.ms:.1f}", f"{found.baseline_ms:.1f}", f"{found.ratio:.2f}")
    counts = found.count_us / found.baseline_count_us
    table.add_row("counting a request, us", f"{found.count_us:.1f}", f"{found.baseline_count_us:.1f}", f"{counts:.2f}")
    return table


def _lists_table(found: Lists) -> Table:
    table = Table(
        title=f"Milliseconds of a page, by turns of a tenant with {FEW_ROWS:,} rows and of one with {found.rows:,} "
        f"({found.steps:,} steps)"
    )
    for name in ("", "few: p50", "p99", "many: p50", "p99", "ratio of p50"):
        table.add_column(name, justify="left" if not name else "right")
    for row in found.lists:
        numbers = (row.few_p50_ms, row.few_p99_ms, row.p50_ms, row.p99_ms)
        table.add_row(row.what, *(f"{one:.1f}" for one in numbers), f"{row.ratio:.2f}")
    return table


def _usage_table(found: Usage) -> Table:
    table = Table(title=f"Usage of 30 days: {found.records:,} records in {found.buckets:,} buckets; by turns")
    for name in ("", "p50 ms", "of the count"):
        table.add_column(name, justify="left" if not name else "right")
    for row in found.rows:
        table.add_row(row.what, f"{row.p50_ms:.0f}", f"{row.ratio:.2f}")
    table.add_section()
    table.add_row("records rolled up a second", f"{found.rolled_per_second:,.0f}", "")
    table.add_row("the same, beside a rollup without sums by days: times as long", "", f"{found.days_slow_down:.2f}")
    return table


def _budgets_table(rows: Sequence[BudgetRow]) -> Table:
    table = Table(title="Runs of tenants with budgets, by turns; ratios are of runs per second in the same round")
    for name in ("budgets", "at a time", "runs/s", "of no budget", "added ms/step"):
        table.add_column(name, justify="left" if name == "budgets" else "right")
    for row in rows:
        numbers = (f"{row.runs_per_second:.1f}", f"{row.ratio:.2f}", f"{row.added_ms_per_step:.1f}")
        table.add_row(row.budgets, str(row.at_a_time), *numbers)
    return table
