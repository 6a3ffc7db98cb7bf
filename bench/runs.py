"""Runs per second and milliseconds per step of the product beside its baselines."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, median, quantiles

from bench.baseline import CALLS, Floor, Honest
from bench.cpu import CpuMeter
from bench.drivers import QUICK, REGULAR, Measured, Once, Product, baseline, measure, over_http
from bench.stack import BenchStack, Say

STEPS = CALLS + 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Sets how much is measured.

    Attributes:
        rounds: Number of rounds of all kinds, each in another order.
        alone: Runs of a kind in a round, one at a time.
        together: Runs of a kind in a round, many at a time.
        at_a_time: The number of those.
    """

    rounds: int = 3
    alone: int = 8
    together: int = 80
    at_a_time: int = 40


QUICK_PLAN = Plan(rounds=2, alone=4, together=40)


@dataclass(frozen=True, slots=True)
class Row:
    """Holds the measurements of one kind of runs, at one load.

    Attributes:
        runs_per_second: Over all rounds.
        p50_ms: Median of a run's latency.
        p99_ms: 99th percentile of a run's latency.
        to_honest: Runs per second over those of the honest baseline: the median over the rounds.
        to_floor: The same over the floor.
        own_ms_per_step: Median latency above that of the honest baseline, by step.
        cpu_ms: CPU milliseconds a run, by process.
    """

    kind: str
    tool: str
    at_a_time: int
    runs_per_second: float
    p50_ms: float
    p99_ms: float
    to_honest: float
    to_floor: float
    own_ms_per_step: float
    cpu_ms: Mapping[str, float]


async def measure_runs(stack: BenchStack, plan: Plan, say: Say) -> list[Row]:
    """Measures all kinds, one run and many runs at a time.

    Args:
        stack: The running stack.
        plan: How much is measured.
        say: Receives progress messages.

    Returns:
        A row for each kind, tool and load.
    """
    async with over_http(stack) as http:
        return await _take_turns(stack, {**_kinds(stack), ("over HTTP", "quick"): http}, plan, say)


async def _take_turns(stack: BenchStack, kinds: Mapping[tuple[str, str], Once], plan: Plan, say: Say) -> list[Row]:
    await Product(stack).authenticate()
    meter = CpuMeter(stack.pids)
    for (kind, tool), once in kinds.items():
        say(f"warming up: {kind}, {tool} tool")
        # What the first runs import, cache and plan belongs to no measurement.
        await measure(once, 20, 20, meter, Measured())
    rows: list[Row] = []
    for at_a_time, runs in ((1, plan.alone), (plan.at_a_time, plan.together)):
        found = {key: Measured() for key in kinds}
        for number in range(plan.rounds):
            # In the other order every second time, so that what drifts on the machine touches all alike.
            turns = list(kinds.items()) if number % 2 == 0 else list(kinds.items())[::-1]
            for key, once in turns:
                say(f"{at_a_time} at a time, round {number + 1} of {plan.rounds}: {key[0]}, {key[1]} tool")
                await measure(once, runs, at_a_time, meter, found[key])
        rows += [_row(key, at_a_time, found) for key in kinds]
    return rows


def _kinds(stack: BenchStack) -> dict[tuple[str, str], Once]:
    product = Product(stack)
    return {
        key: once
        for name, shape in (("quick", QUICK), ("regular", REGULAR))
        for key, once in (
            (("product", name), product.once(shape)),
            (("honest", name), baseline(stack, Honest, shape)),
            (("floor", name), baseline(stack, Floor, shape)),
        )
    }


def _row(key: tuple[str, str], at_a_time: int, found: Mapping[tuple[str, str], Measured]) -> Row:
    kind, tool = key
    own, honest, floor = found[key], found[("honest", tool)], found[("floor", tool)]
    runs = len(own.latencies)
    return Row(
        kind=kind,
        tool=tool,
        at_a_time=at_a_time,
        runs_per_second=mean(own.rates),
        p50_ms=median(own.latencies) * 1_000,
        p99_ms=quantiles(own.latencies, n=100, method="inclusive")[98] * 1_000,
        to_honest=_ratio(own, honest),
        to_floor=_ratio(own, floor),
        own_ms_per_step=(median(own.latencies) - median(honest.latencies)) * 1_000 / STEPS,
        cpu_ms={name: used * 1_000 / runs for name, used in own.cpu.items()},
    )


def _ratio(own: Measured, other: Measured) -> float:
    return median(mine / theirs for mine, theirs in zip(own.rates, other.rates, strict=True))
