"""The processes of a deployment, worker and gateway, each to be killed and started again."""

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from temporalio.worker import UnsandboxedWorkflowRunner

from api.__main__ import run as run_gateway
from taskforce.application.webhooks.dispatch import starting
from taskforce.core.domain.approvals.records import Request
from taskforce.core.interfaces.clock import utc_now
from taskforce.core.interfaces.store import Records
from tests.chaos.durable_tools import PLACE, TOOLS, Effects
from tests.chaos.private_stack import worker_parts
from tests.chaos.worker_process import Order, log_to
from tests.fixtures.isolated_sweeps import sweeps
from tests.fixtures.missions import CARRIED, Carried
from tests.fixtures.stack import ENCRYPTION_KEY, PROOF_KEY
from worker import build_worker
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect

SECRET = "a-secret-that-only-tests-know-0123456789"
ISSUER = "tests"


class HeldBack(Carried):
    """What follows an approval, which may be held in the middle.

    Args:
        effects: Where it is noted that one has begun.
    """

    def __init__(self, effects: Effects) -> None:
        self._effects = effects

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        self._effects.had(CARRIED, request.approval.request_id, "begun")
        await self._effects.released()
        return await super().apply(records, request, now)


def serve_worker(order: Order) -> None:
    """Works as `python -m worker` does, until it is killed."""
    log_to(Path(order.place) / "worker.log")
    os.environ |= {PLACE: order.place, "OPENAI_API_KEY": "unused"}
    asyncio.run(_work(order))


async def _work(order: Order) -> None:
    client = await connect(TemporalAddress(order.temporal, task_queue=order.task_queue))
    workflow_client = WorkflowClient(client, order.task_queue, PROOF_KEY)
    async with AsyncExitStack() as stack:
        made = worker_parts(order.app_url, order.llm_url, TOOLS, allowed=order.allowed)
        parts = await stack.enter_async_context(made)
        parts = replace(parts, handlers={CARRIED: HeldBack(Effects(Path(order.place)))})
        await stack.enter_async_context(sweeps(parts.database, workflow_client, parts.live))
        await stack.enter_async_context(
            starting(parts.database, parts.database.queued, workflow_client.deliveries.start, utc_now)
        )
        runner = UnsandboxedWorkflowRunner()
        await stack.enter_async_context(build_worker(client, order.task_queue, parts, workflow_runner=runner))
        await asyncio.Event().wait()


def serve_gateway(order: Order) -> None:
    """Is `python -m api`, until it is killed."""
    log_to(Path(order.place) / "gateway.log")
    for name in [name for name in os.environ if name.startswith(("TASKFORCE_", "TEMPORAL_"))]:
        del os.environ[name]
    os.environ |= {
        "DATABASE_URL": order.app_url,
        "TEMPORAL_ADDRESS": order.temporal,
        "TEMPORAL_TASK_QUEUE": order.task_queue,
        "TASKFORCE_PORT": str(order.gateway_port),
        "TASKFORCE_PROFILE": "dev",
        "TASKFORCE_ENCRYPTION_KEY": ENCRYPTION_KEY,
        "JWT_SECRET": SECRET,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": ISSUER,
    }
    run_gateway()
