"""Runs the benchmarks.

python -m bench [runs|where|history|access|approvals|audit|fairness|lists|usage|budgets|metrics]... [--quick]
[--steps 1000] [--rows 1000000] [--json FILE]; the same: `make bench`.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.status import Status

from bench.access import measure_access
from bench.approvals import QUICK_APPROVALS, ApprovalsPlan, measure_approvals
from bench.audit_log import QUICK_AUDIT, AuditPlan, measure_audit
from bench.budgets import measure_budgets
from bench.cpu_shares import measure_where
from bench.fairness import measure_fairness
from bench.history import measure_history, measure_long_run
from bench.lists import measure_lists
from bench.metrics import measure_metrics
from bench.report import Results, show
from bench.runs import QUICK_PLAN, Plan, measure_runs
from bench.stack import BenchStack, Say, running
from bench.usage import measure_usage

PARTS = ("runs", "where", "history", "access", "approvals", "audit", "fairness", "lists", "usage", "budgets", "metrics")
WIDTH = 120


async def _measure(arguments: argparse.Namespace, results: Results, say: Say, console: Console) -> None:
    task = asyncio.current_task()
    if task is not None:
        # SIGTERM raises here, so that the processes that were started are stopped.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with running(say) as stack:
        stack.pids["bench"] = os.getpid()
        for part in arguments.parts or PARTS:
            measured = Results()
            await _part(part, arguments, stack, measured, say)
            # Printed after each part, for the whole takes long.
            show(measured, console)
            results.add(measured)
        say("stopping everything")
        stack.pids.pop("bench")


async def _part(part: str, arguments: argparse.Namespace, stack: BenchStack, results: Results, say: Say) -> None:
    if part == "runs":
        async with stack.product_worker(say), stack.baseline_worker(say):
            results.runs = await measure_runs(stack, _plan(arguments), say)
    elif part == "where":
        runs = 40 if arguments.quick else 120
        results.where = [await measure_where(stack, runs, arguments.at_a_time, say)]
    elif part == "access":
        rounds = arguments.rounds or (4 if arguments.quick else 20)
        results.access = await measure_access(stack, rounds, 50, say)
    elif part == "approvals":
        plan = QUICK_APPROVALS if arguments.quick else ApprovalsPlan()
        plan = replace(plan, pending=arguments.pending or plan.pending, rounds=arguments.rounds or plan.rounds)
        results.approvals = await measure_approvals(stack, plan, say)
    elif part == "audit":
        results.audit = await measure_audit(stack, QUICK_AUDIT if arguments.quick else AuditPlan(), say)
    elif part == "lists":
        rows = arguments.rows or (5_000 if arguments.quick else 100_000)
        results.lists = await measure_lists(stack, rows, arguments.rounds or (10 if arguments.quick else 50), say)
    elif part == "usage":
        runs = 2_000 if arguments.quick else 100_000
        results.usage = await measure_usage(stack, runs, arguments.rounds or (5 if arguments.quick else 20), say)
    elif part == "metrics":
        say("writing expositions")
        results.metrics = await asyncio.to_thread(measure_metrics, arguments.rounds or (5 if arguments.quick else 30))
    else:
        async with stack.product_worker(say):
            await _with_worker(part, arguments, stack, results, say)


async def _with_worker(part: str, arguments: argparse.Namespace, stack: BenchStack, results: Results, say: Say) -> None:
    if part == "fairness":
        results.fairness = await measure_fairness(stack, 100 if arguments.quick else 1_000, say)
    elif part == "budgets":
        results.budgets = await measure_budgets(stack, _plan(arguments), say)
    else:
        steps = arguments.steps or (100 if arguments.quick else 1_000)
        results.history = await measure_history(stack, say)
        results.long_run = await measure_long_run(stack, steps, say)


def _plan(arguments: argparse.Namespace) -> Plan:
    plan = QUICK_PLAN if arguments.quick else Plan()
    return replace(plan, rounds=arguments.rounds or plan.rounds, at_a_time=arguments.at_a_time)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks, each beside a baseline.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; everything by default")
    parser.add_argument("--quick", action="store_true", help="fewer runs, for a first look")
    parser.add_argument("--rounds", type=int, help="how often product and baselines take turns")
    parser.add_argument("--at-a-time", type=int, default=40, help="runs at a time under load")
    parser.add_argument("--steps", type=int, help="steps of the long run")
    parser.add_argument("--pending", type=int, help="requests that wait for people")
    parser.add_argument("--rows", type=int, help="rows of the large tenant of lists, with ten steps each")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser


def main() -> int:
    """Runs the benchmarks and prints the results; returns the exit code."""
    arguments = _parser().parse_args()
    progress = Console(stderr=True)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    results = Results()
    with Status("", console=progress) as status:

        def say(text: str) -> None:
            status.update(text)
            if not progress.is_terminal:
                progress.print(text)

        try:
            asyncio.run(_measure(arguments, results, say, console))
        except (asyncio.CancelledError, KeyboardInterrupt):
            return 130
    if arguments.json:
        arguments.json.write_text(json.dumps(results.as_dict(), indent=1))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # As in worker.py: the Temporal SDK sometimes aborts the interpreter at exit.
    os._exit(code)
