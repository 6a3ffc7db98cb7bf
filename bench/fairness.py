"""Time to the first step of a quiet tenant's run: alone, and beside another tenant with very many runs."""

import asyncio
import time
from dataclasses import dataclass
from statistics import median

from bench.drivers import QUICK, Product
from bench.stack import PRODUCT, BenchStack, Say

ALONE = 10
BESIDE = 5
AT_A_TIME = 40
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Fairness:
    """Holds the times of the quiet tenant.

    Attributes:
        busy_runs: Runs of the busy tenant.
        ended: Those that had ended before the quiet tenant's first run, and after the first step of its last.
        alone_ms: Median milliseconds from the start of a run to the end of its first step, with nothing beside.
        run_ms: The same to the end of the run.
        beside_ms: The first step's milliseconds beside the busy tenant, of each of the quiet one's runs in turn.
    """

    busy_runs: int
    ended: tuple[int, int]
    alone_ms: float
    run_ms: float
    beside_ms: tuple[float, ...]


async def measure_fairness(stack: BenchStack, busy_runs: int, say: Say) -> Fairness:
    """Measures the quiet tenant alone, then while the busy one's runs are under way.

    Args:
        stack: The running stack, with the product's worker.
        busy_runs: Runs of the busy tenant, all started before the quiet one's first.
        say: Receives progress messages.
    """
    quiet, busy = (Product(stack, PRODUCT, name) for name in ("bench-quiet", "bench-busy"))
    await quiet.authenticate()
    await busy.authenticate()
    say("the quiet tenant, alone")
    alone = [await _timed(stack, quiet) for _ in range(ALONE)]
    say(f"{busy_runs} runs of the busy tenant")
    room = asyncio.Semaphore(AT_A_TIME)

    async def start() -> str:
        async with room:
            return await busy.start(QUICK.tool)

    started = await asyncio.gather(*(start() for _ in range(busy_runs)))
    ended: set[str] = set()

    async def end(run_id: str) -> None:
        await busy.ended(run_id)
        ended.add(run_id)

    ending = [asyncio.create_task(end(run_id)) for run_id in started]
    # What has ended by now is told at once.
    await asyncio.sleep(_POLL_SECONDS)
    before = len(ended)
    say("the quiet tenant, beside it")
    beside = [(await _timed(stack, quiet, whole=False))[0] for _ in range(BESIDE)]
    after = len(ended)
    await asyncio.gather(*ending)
    return Fairness(
        busy_runs,
        (before, after),
        median(first for first, _ in alone),
        median(whole for _, whole in alone),
        tuple(beside),
    )


async def _timed(stack: BenchStack, product: Product, *, whole: bool = True) -> tuple[float, float]:
    """Returns the milliseconds of one run to its first step and to its end."""
    began = time.perf_counter()
    run_id = await product.start(QUICK.tool)
    while not await _has_stepped(stack, product.tenant_id, run_id):  # noqa: ASYNC110 - what is waited for is a row
        await asyncio.sleep(_POLL_SECONDS)
    first = time.perf_counter() - began
    if whole:
        await product.ended(run_id)
    return first * 1_000, (time.perf_counter() - began) * 1_000


async def _has_stepped(stack: BenchStack, tenant_id: str, run_id: str) -> bool:
    async with stack.database.reading(tenant_id) as records:
        return any(event.type == "step.replied" for event in await records.events.after(run_id, 0, 100))
