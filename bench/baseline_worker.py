"""Worker of the baselines, with the same limits as the product's."""

import asyncio
import os
import signal
import sys

import asyncpg
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.baseline import Floor, Honest, HonestActivities, nothing, nothing_local
from bench.tools import offer
from taskforce.infrastructure.config.settings import Settings, driver_arguments
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from workflows.client.connection import TemporalAddress, connect


async def _work(settings: Settings) -> None:
    offer()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await connect(TemporalAddress(**settings.temporal_connection))
    model = LiteLLMModel()
    await model.prepare()
    async with asyncpg.create_pool(**driver_arguments(settings.app_url), min_size=settings.db_pool_size) as pool:
        activities = HonestActivities(model, pool)
        worker = Worker(
            client,
            task_queue=settings.temporal_task_queue,
            workflows=[Floor, Honest],
            activities=[nothing, nothing_local, activities.ask, activities.act],
            max_concurrent_activities=200,
            max_concurrent_local_activities=200,
            max_concurrent_workflow_tasks=100,
            # As in the product's worker in production, so that the comparison is not of sandboxes.
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with worker:
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(_work(Settings.from_env()))
    sys.stdout.flush()
    # As in worker.py: the Temporal SDK sometimes aborts the interpreter at exit.
    os._exit(0)
