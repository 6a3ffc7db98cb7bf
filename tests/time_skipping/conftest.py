"""A Temporal whose time can be skipped, and a worker of the product whose clock follows it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.testing import WorkflowEnvironment

from cli.stack.binaries import time_skipping_server
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.missions import Missions
from tests.time_skipping.server_time import ServerTime, SkippedClient
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient
from workflows.client.connection import DATA_CONVERTER
from workflows.runtime.search_attributes import ALL

TASK_QUEUE = "skipping"
STARTUP = timedelta(seconds=60)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "time_skipping: needs the time-skipping server (JDK and Maven, or a download)")


@dataclass(frozen=True, slots=True)
class Skipping:
    """A server whose time can be skipped.

    Attributes:
        env: The server; `env.sleep` lets its time pass.
        workflow_client: The product's door to it.
        parts: Those of its worker, whose clock follows the server's.
        clock: That clock.
    """

    env: WorkflowEnvironment
    workflow_client: WorkflowClient
    parts: WorkerParts
    clock: ServerTime


@pytest.fixture(scope="session")
def server_program() -> str:
    try:
        return str(time_skipping_server(print))
    except Unavailable as error:
        pytest.skip(f"no time-skipping server: {error.message}")


@pytest.fixture(scope="session")
async def skipping(server_program: str, parts: WorkerParts) -> AsyncIterator[Skipping]:
    clock = ServerTime()
    environment = await WorkflowEnvironment.start_time_skipping(
        data_converter=DATA_CONVERTER,
        interceptors=[clock],
        test_server_existing_path=server_program,
        test_server_startup_timeout=STARTUP,
    )
    async with environment as env:
        clock.follow(env.get_current_time)
        workflow_client = SkippedClient(env.client, TASK_QUEUE, clock)
        await _add_search_attributes(env)
        # People here sign in by everybody's clock, which the server has long left behind.
        skipped = replace(parts, clock=clock, rules=AccessRules(claims_age=timedelta(days=3_650)))
        async with build_worker(env.client, TASK_QUEUE, skipped):
            yield Skipping(env, workflow_client, skipped, clock)


async def _add_search_attributes(env: WorkflowEnvironment) -> None:
    # This server adds but does not list them, so that the door, which lists first, cannot.
    kinds = {key.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD for key in ALL}
    request = AddSearchAttributesRequest(namespace=env.client.namespace, search_attributes=kinds)
    await env.client.operator_service.add_search_attributes(request)


@pytest.fixture
def missions(database: Database, skipping: Skipping, tenant: str) -> Missions:
    return Missions(database, skipping.workflow_client, tenant)
