"""Workers of the tests' own on the session's servers, and a model server that they share."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from taskforce.infrastructure.persistence.database import Database
from tests.chaos.worker_process import Crew, Order
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.fixtures.stack import PROOF_KEY, DatabaseUrls, StackAddress
from workflows.client.client import WorkflowClient


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tf-chaos-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
async def llm() -> AsyncIterator[ScriptedLLM]:
    async with ScriptedLLM() as server:
        yield server


@pytest.fixture(scope="session")
def admin_url(postgres: DatabaseUrls) -> str:
    return postgres.admin


@pytest.fixture(scope="module")
def task_queue() -> str:
    return f"chaos-{uuid4().hex[:12]}"


@pytest.fixture(scope="module")
async def crew(
    stack: StackAddress, postgres: DatabaseUrls, llm: ScriptedLLM, place: Path, task_queue: str
) -> AsyncIterator[Crew]:
    async with Crew(Order(postgres.app, stack.temporal, task_queue, llm.url, str(place))) as workers:
        yield workers


@pytest.fixture(scope="module")
def endangered(database: Database, temporal: Client, task_queue: str) -> Missions:
    """Runs that no worker but the crew works on."""
    return Missions(database, WorkflowClient(temporal, task_queue, PROOF_KEY), f"chaos-{uuid4().hex[:12]}")
