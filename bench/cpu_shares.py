"""CPU time of a run: by process, and within the worker by part."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from bench.cpu import CpuMeter
from bench.drivers import QUICK, Measured, Product, measure
from bench.sampler import WRITE_SECONDS
from bench.stack import BenchStack, Say

SAMPLED = "bench-sampled"


class _Found(TypedDict):
    parts: dict[str, float]
    places: dict[str, float]


@dataclass(frozen=True, slots=True)
class Where:
    """Holds the CPU milliseconds of a run.

    Attributes:
        processes: By process, the sampled worker among them.
        parts: The worker's, by part.
        places: The worker's, by part and innermost function, the largest first.
    """

    at_a_time: int
    processes: Mapping[str, float]
    parts: Mapping[str, float]
    places: Mapping[str, float]


async def measure_where(stack: BenchStack, runs: int, at_a_time: int, say: Say) -> Where:
    """Executes runs with a worker that is sampled, which costs the worker a few percent.

    Args:
        stack: The running stack.
        runs: How many runs.
        at_a_time: So many at a time.
        say: Receives progress messages.
    """
    path = stack.directory / "samples.json"
    say("starting a worker that is sampled")
    async with stack.worker("sampled", SAMPLED, "-m", "bench.worker", str(path)):
        product = Product(stack, SAMPLED)
        await product.authenticate()
        once, meter = product.once(QUICK), CpuMeter(stack.pids)
        await measure(once, at_a_time, at_a_time, meter, Measured())
        say(f"sampling the worker, {at_a_time} at a time")
        before, found = await _read(path), Measured()
        await measure(once, runs, at_a_time, meter, found)
        after = await _read(path)
    return Where(
        at_a_time=at_a_time,
        processes=_by_run(found.cpu, {}, runs),
        parts=_by_run(after["parts"], before["parts"], runs),
        places=dict(list(_by_run(after["places"], before["places"], runs).items())[:60]),
    )


async def _read(path: Path) -> _Found:
    # The sampler writes from time to time: what is read must be newer than what was measured.
    await asyncio.sleep(2 * WRITE_SECONDS)
    found: _Found = json.loads(await asyncio.to_thread(path.read_text))
    return found


def _by_run(after: Mapping[str, float], before: Mapping[str, float], runs: int) -> dict[str, float]:
    spent = {name: (used - before.get(name, 0.0)) * 1_000 / runs for name, used in after.items()}
    return dict(sorted(spent.items(), key=lambda item: -item[1]))
