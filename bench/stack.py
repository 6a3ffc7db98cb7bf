"""Stack of the benchmarks: the product's own parts in a temporary directory, each in a process of its own."""

import asyncio
import base64
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import asyncpg
import httpx
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from bench.baseline import TABLE
from cli.stack.binaries import temporal_binary
from cli.stack.ports import free_port
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.processes import Child, environment_without
from cli.stack.temporal import TemporalDevServer
from models.migrations.runner import upgrade
from taskforce.infrastructure.config.settings import REPOSITORY, normalise_database_url
from taskforce.infrastructure.persistence.database import Database
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect

PRODUCT = "bench-product"
BASELINE = "bench-baseline"
GATEWAY_SECRET = "a-secret-that-signs-tokens-of-benchmarks-only"
_READY_SECONDS = 180
_KEY = "sk-bench-0123456789abcdef0123456789abcdef"

Say = Callable[[str], None]
"""Hears what is being done."""


@dataclass(frozen=True, slots=True)
class BenchStack:
    """Holds a running stack.

    Attributes:
        client: A client of Temporal.
        database: The product's access to PostgreSQL.
        pids: Process ids by name.
        directory: The directory of all data; removed at the end.
        admin_url: The URL of PostgreSQL's superuser.
    """

    client: Client
    database: Database
    pids: dict[str, int]
    directory: Path
    environment: Mapping[str, str]
    admin_url: str

    def workflow_client(self, task_queue: str = PRODUCT) -> WorkflowClient:
        """Returns the product's client of Temporal, for a queue."""
        return WorkflowClient(self.client, task_queue)

    @asynccontextmanager
    async def worker(self, name: str, task_queue: str, *command: str) -> AsyncIterator[int]:
        """Runs a worker while the block lasts; yields its pid once it polls."""
        environment = {**self.environment, "TEMPORAL_TASK_QUEUE": task_queue}
        with _process(name, command, environment, self.directory) as child:
            self.pids[name] = _pid(child)
            await _until(child, lambda: _polls(self.client, task_queue, self.pids[name]))
            yield self.pids[name]
        self.pids.pop(name)

    @asynccontextmanager
    async def product_worker(self, say: Say) -> AsyncIterator[None]:
        """Runs the product's worker while the block lasts."""
        say("starting the product's worker")
        async with self.worker("worker", PRODUCT, "-m", "bench.worker"):
            yield

    @asynccontextmanager
    async def baseline_worker(self, say: Say) -> AsyncIterator[None]:
        """Runs the worker of the baselines while the block lasts."""
        say("starting the worker of the baselines")
        async with self.worker("baseline", BASELINE, "-m", "bench.baseline_worker"):
            yield

    @asynccontextmanager
    async def gateway(
        self, *command: str, more: Mapping[str, str] = MappingProxyType({}), sign: str = "/ready"
    ) -> AsyncIterator[str]:
        """Runs the gateway, or a variant of it, while the block lasts; yields its base URL once it is ready.

        Args:
            command: What to run instead of the gateway.
            more: Further settings.
            sign: The path that answers once it is ready; without a worker, `/ready` never does.
        """
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        environment = {
            **self.environment,
            "TEMPORAL_TASK_QUEUE": PRODUCT,
            "TASKFORCE_PORT": str(port),
            "JWT_SECRET": GATEWAY_SECRET,
            **more,
        }
        with _process("gateway", command or ("-m", "api"), environment, self.directory) as child:
            await _until(child, lambda: _answers(f"{url}{sign}"))
            self.pids["gateway"] = _pid(child)
            yield url
        self.pids.pop("gateway")


@asynccontextmanager
async def running(say: Say) -> AsyncIterator[BenchStack]:
    """Starts PostgreSQL (durable), Temporal (with the product's flags and a file) and the model, without workers.

    Args:
        say: Receives progress messages.
    """
    with ExitStack() as servers:
        directory = Path(servers.enter_context(tempfile.TemporaryDirectory(prefix="tf-bench-")))
        say("starting PostgreSQL and Temporal")
        temporal = TemporalDevServer(
            temporal_binary(say), log=directory / "temporal.log", ui_port=None, database=directory / "temporal.db"
        )
        servers.callback(temporal.stop)
        # Waited for only after PostgreSQL and the migrations, which take as long.
        temporal.launch()
        postgres = EmbeddedPostgres(directory / "pg")
        servers.callback(postgres.stop)
        urls = postgres.start()
        await upgrade(normalise_database_url(urls.owner))
        await _make_table(urls.owner)
        temporal.wait_ready()
        stub_port = free_port()
        environment = _environment(urls.app, temporal.address, stub_port, directory)
        stub = servers.enter_context(
            _process("model", ("-m", "bench.stub", str(stub_port)), environment, directory, hard=True)
        )
        identity = temporal.identity()
        pids = {"model": _pid(stub), "temporal": identity.pid if identity else 0, "postgres": postgres.pid() or 0}
        async with AsyncExitStack() as workers:
            database = Database(normalise_database_url(urls.app), 20)
            workers.push_async_callback(database.close)
            client = await connect(TemporalAddress(temporal.address))
            stack = BenchStack(client, database, pids, directory, environment, urls.admin)
            yield stack


async def _make_table(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    await connection.close()


def _environment(database_url: str, temporal: str, stub_port: int, home: Path) -> dict[str, str]:
    return {
        **environment_without("TASKFORCE_", "TEMPORAL_", "DATABASE_", "MIGRATION_", "OPENAI_", "JWT_"),
        "DATABASE_URL": database_url,
        "TEMPORAL_ADDRESS": temporal,
        "OPENAI_BASE_URL": f"http://127.0.0.1:{stub_port}/v1",
        "OPENAI_API_KEY": _KEY,
        "TASKFORCE_HOME": str(home),
        # A key of the benchmarks only; the gateway proves decisions with it.
        "TASKFORCE_ENCRYPTION_KEY": base64.b64encode(bytes(32)).decode(),
        "TASKFORCE_LOG_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def _process(
    name: str, command: tuple[str, ...], environment: Mapping[str, str], directory: Path, *, hard: bool = False
) -> Iterator[Child]:
    log = directory / f"{name}.log"
    child = Child(name, [sys.executable, *command], log=log, environment=environment, directory=REPOSITORY)
    child.start()
    try:
        yield child
    except TimeoutError:
        sys.stderr.write(f"{name}:\n{child.last_words()}\n")
        raise
    finally:
        child.stop(0 if hard else 30)


def _pid(child: Child) -> int:
    identity = child.identity()
    if identity is None:
        raise RuntimeError(f"{child.name} ended:\n{child.last_words()}")
    return identity.pid


async def _until(child: Child, ready: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not await ready():
        if not child.alive() or time.monotonic() > deadline:
            raise RuntimeError(f"{child.name} is not ready:\n{child.last_words()}")
        await asyncio.sleep(0.1)


async def _polls(client: Client, task_queue: str, pid: int) -> bool:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    answer = await client.workflow_service.describe_task_queue(request)
    # The server lists stopped workers for some minutes: this one is found by its identity, by default `<pid>@<host>`.
    return any(poller.identity.startswith(f"{pid}@") for poller in answer.pollers)


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False
