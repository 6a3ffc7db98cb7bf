"""A whole deployment of a test's own, each process of which may be killed."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from temporalio.client import Client

from cli.stack.ports import free_port
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.database import Database
from tests.chaos.deployment import serve_gateway, serve_worker
from tests.chaos.invariants import answers, eventually
from tests.chaos.private_stack import OwnServers
from tests.chaos.worker_process import Crew, Order
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.fixtures.stack import MASTER_KEY, PROOF_KEY
from tests.fixtures.webhook_receivers import Receiver, receiving
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect

TASK_QUEUE = "approvals"
# Of what was committed a crash loses nothing, though these servers do not wait for the disk.
SETTINGS = {"synchronous_commit": "on"}
VICTIMS = ("worker", "gateway", "temporal", "postgres")


@dataclass(frozen=True, slots=True)
class Site:
    """A whole deployment of the test's own."""

    servers: OwnServers
    workers: Crew
    gateways: Crew
    database: Database
    client: Client
    receiver: Receiver
    gateway: str
    llm: ScriptedLLM

    def missions(self) -> Missions:
        """The runs of a tenant of its own."""
        workflow_client = WorkflowClient(self.client, TASK_QUEUE, PROOF_KEY)
        return Missions(self.database, workflow_client, f"chaos-{uuid4().hex[:12]}")

    async def kill_and_restart(self, victim: str) -> None:
        """Kills one process of the deployment as `kill -9` does, and starts it again."""
        match victim:
            case "worker":
                await self.workers.kill()
                await self.workers.hire()
            case "gateway":
                await self.gateways.kill()
                await self.gateways.hire()
            case "temporal":
                await self.servers.kill_temporal()
                await self.servers.restart_temporal()
            case _:
                self.servers.kill_postgres()
                await asyncio.to_thread(self.servers.postgres.start)
                await eventually(lambda: answers(self.database))


@asynccontextmanager
async def whole_site(place: Path, llm: ScriptedLLM) -> AsyncIterator[Site]:
    """Starts a deployment: PostgreSQL, Temporal, a worker and a gateway."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tf-site-")))
        receiver = await stack.enter_async_context(receiving())
        servers = await stack.enter_async_context(OwnServers(home, postgres_settings=SETTINGS))
        port = free_port()
        order = Order(
            servers.app_url,
            servers.temporal.address,
            TASK_QUEUE,
            llm.url,
            str(place),
            (receiver.place,),
            gateway_port=port,
        )
        workers = await stack.enter_async_context(Crew(order, serve_worker))
        gateways = await stack.enter_async_context(Crew(order, serve_gateway))
        for crew in (workers, gateways):
            await crew.hire()
        database = Database(servers.app_url, sealer=ColumnSealer(MASTER_KEY))
        stack.push_async_callback(database.close)
        client = await connect(TemporalAddress(servers.temporal.address, task_queue=TASK_QUEUE))
        yield Site(servers, workers, gateways, database, client, receiver, f"http://127.0.0.1:{port}", llm)
