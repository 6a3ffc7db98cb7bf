"""Size of workflow histories, and the cost of the thousandth step beside that of the first."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import mean

from temporalio.client import WorkflowHandle

from bench.drivers import QUICK, REGULAR, TENANT, Product
from bench.stack import BenchStack, Say
from taskforce.core.domain.runs.run import Limits, workflow_id

SHORT, LONG = 4, 24
ENDS = 100


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """Holds the size of a run's history.

    Attributes:
        bytes_per_step: Bytes per additional step: the difference of two runs of different length, by step.
        events_per_step: The same in events.
    """

    tool: str
    bytes_per_step: float
    events_per_step: float


@dataclass(frozen=True, slots=True)
class LongRun:
    """Holds the measurements of a run of many steps, which continues as new.

    Attributes:
        parts: Number of workflow executions.
        first_ms, last_ms: Milliseconds of a step, the model's call left out, at its begin and at its end.
        first_model_ms, last_model_ms: Milliseconds of the model's call.
    """

    steps: int
    status: str
    parts: int
    bytes: int
    seconds: float
    first_ms: float
    last_ms: float
    first_model_ms: float
    last_model_ms: float

    @property
    def bytes_per_step(self) -> float:
        """Returns the bytes per step over the whole run, its beginning and end included."""
        return self.bytes / self.steps


async def measure_history(stack: BenchStack, say: Say) -> list[HistoryRow]:
    """Measures the histories of runs with a local tool and with a regular one."""
    product = Product(stack)
    await product.authenticate()
    rows = []
    for name, shape in (("quick", QUICK), ("regular", REGULAR)):
        say(f"weighing histories: {name} tool")
        sizes = [await _size(stack, product, shape.tool, calls) for calls in (SHORT, LONG)]
        (short, short_events), (long, long_events) = sizes
        more = LONG - SHORT
        rows.append(HistoryRow(name, (long - short) / more, (long_events - short_events) / more))
    return rows


async def measure_long_run(stack: BenchStack, steps: int, say: Say) -> LongRun:
    """Measures one run of many steps with a local tool."""
    product = Product(stack)
    await product.authenticate()
    began = asyncio.get_running_loop().time()
    run_id = await product.start(QUICK.tool, steps + 1, Limits(max_steps=steps, max_seconds=36_000))
    ending = asyncio.create_task(product.ended(run_id))
    while not ending.done():
        say(f"a run of {steps} steps: at step {(await stack.workflow_client().runs.progress(TENANT, run_id)).step}")
        await asyncio.wait([ending], timeout=2)
    seconds = asyncio.get_running_loop().time() - began
    parts = await _parts(stack, run_id)
    times, models = await _step_times(stack, run_id, steps)
    ends = min(ENDS, steps // 4)
    return LongRun(
        steps=steps,
        status=await ending,
        parts=len(parts),
        bytes=sum(parts),
        seconds=seconds,
        first_ms=mean(times[:ends]),
        last_ms=mean(times[-ends:]),
        first_model_ms=mean(models[:ends]),
        last_model_ms=mean(models[-ends:]),
    )


async def _size(stack: BenchStack, product: Product, tool: str, calls: int) -> tuple[int, int]:
    run_id = await product.start(tool, calls, Limits(max_steps=LONG + 2))
    await product.ended(run_id)
    info = (await _handle(stack, run_id).describe()).raw_description.workflow_execution_info
    return info.history_size_bytes, info.history_length


async def _parts(stack: BenchStack, run_id: str) -> list[int]:
    """Returns the bytes of each execution in the chain, the last first."""
    sizes: list[int] = []
    execution: str | None = None
    while True:
        handle = _handle(stack, run_id, execution)
        sizes.append((await handle.describe()).raw_description.workflow_execution_info.history_size_bytes)
        first = await anext(handle.fetch_history_events(page_size=1))
        execution = first.workflow_execution_started_event_attributes.continued_execution_run_id
        if not execution:
            return sizes


def _handle(stack: BenchStack, run_id: str, execution: str | None = None) -> WorkflowHandle[object, object]:
    return stack.client.get_workflow_handle(workflow_id(TENANT, run_id), run_id=execution)


async def _step_times(stack: BenchStack, run_id: str, steps: int) -> tuple[Sequence[float], Sequence[float]]:
    async with stack.database.tenant(TENANT) as records:
        entries = await records.transcripts.range(run_id, 0, steps + 1)
    replies = [entry for entry in entries if entry.call == 0]
    # Between two replies lies the later one's call, so the first call belongs to no gap.
    models = [float(entry.duration_ms or 0) for entry in replies][1:]
    gaps = [_ms(earlier.at, later.at) for earlier, later in pairwise(replies)]
    return [gap - model for gap, model in zip(gaps, models, strict=True)], models


def _ms(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds() * 1_000
