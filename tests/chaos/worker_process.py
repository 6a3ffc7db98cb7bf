"""Workers that are processes of their own, to be killed."""

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from temporalio.worker import UnsandboxedWorkflowRunner

from tests.chaos.durable_tools import PLACE, TOOLS, Effects
from tests.chaos.private_stack import worker_parts
from worker import build_worker
from workflows.client.connection import TemporalAddress, connect


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker process is told.

    Attributes:
        app_url: The database.
        temporal: host:port of Temporal.
        task_queue: The queue to poll.
        llm_url: The model server.
        place: Directory of the effects and of the log.
        allowed: Places on this machine that may be asked.
        gateway_port: Where a gateway listens, if there is one.
    """

    app_url: str
    temporal: str
    task_queue: str
    llm_url: str
    place: str
    allowed: tuple[str, ...] = ()
    gateway_port: int = 0


def log_to(file: Path) -> None:
    """From now on what this process writes goes to the end of a file."""
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)


def serve(order: Order) -> None:
    """Works until it is killed, without the sandbox, as `python -m worker` does."""
    log_to(Path(order.place) / "worker.log")
    os.environ[PLACE] = order.place
    os.environ["OPENAI_API_KEY"] = "unused"
    asyncio.run(_serve(order))


async def _serve(order: Order) -> None:
    client = await connect(TemporalAddress(order.temporal, task_queue=order.task_queue))
    async with (
        worker_parts(order.app_url, order.llm_url, TOOLS, allowed=order.allowed) as parts,
        build_worker(client, order.task_queue, parts, workflow_runner=UnsandboxedWorkflowRunner()),
    ):
        await asyncio.Event().wait()


def _context() -> "ForkServerContext | SpawnContext":
    # Forked from a process that has imported everything and runs nothing, a worker is there at once.
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.chaos.preload"])
    return context


class Crew:
    """The worker processes of a test, or others that are killed as they are.

    Args:
        order: What each is told.
        job: What each does.
    """

    def __init__(self, order: Order, job: Callable[[Order], None] = serve) -> None:
        self._order = order
        self._job = job
        self._context = _context()
        self._working: list[BaseProcess] = []

    @property
    def effects(self) -> Effects:
        """What the tools of all workers did."""
        return Effects(Path(self._order.place))

    async def hire(self) -> None:
        """Starts one more worker."""
        process = self._context.Process(target=self._job, args=(self._order,), daemon=True)
        # The process that workers are forked from starts with the first and takes its time.
        await asyncio.to_thread(process.start)
        self._working.append(process)

    async def kill(self) -> None:
        """Kills the worker that works longest, as `kill -9` does."""
        process = self._working.pop(0)
        process.kill()
        await asyncio.to_thread(process.join)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._working:
            await self.kill()
        if error is not None:
            sys.stderr.write(self.last_words())

    def last_words(self) -> str:
        logs = sorted(Path(self._order.place).glob("*.log"))
        return "".join(f"{log.name}:\n{log.read_text()[-8_000:]}" for log in logs)
