"""A deployment of real processes on the session's servers, and a receiver of their spans."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cli.stack.ports import free_port
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.otlp_receiver import OtlpReceiver, receiving_spans
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.fixtures.stack import MASTER_KEY, DatabaseUrls, StackAddress, own_database
from tests.fixtures.webhook_receivers import Receiver, receiving
from tests.tracing.processes import Deployment, deployed


@pytest.fixture(scope="module")
def postgres(stack: StackAddress, worker_id: str) -> DatabaseUrls:
    # Its own: a deployment's worker takes up whatever runs other tests have left, and they would have the replies.
    return own_database(stack, f"traced_{worker_id}_{uuid4().hex[:8]}")


@pytest.fixture(scope="module")
async def database(postgres: DatabaseUrls) -> AsyncIterator[Database]:
    opened = Database(postgres.app, pool_size=5, sealer=ColumnSealer(MASTER_KEY))
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def collector() -> Iterator[OtlpReceiver]:
    with receiving_spans() as received:
        yield received


@pytest.fixture(scope="module")
async def llm() -> AsyncIterator[ScriptedLLM]:
    async with ScriptedLLM() as server:
        yield server


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture(scope="module")
async def deployment(
    stack: StackAddress,
    postgres: DatabaseUrls,
    llm: ScriptedLLM,
    collector: OtlpReceiver,
    receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Deployment]:
    place: Path = tmp_path_factory.mktemp("deployment")
    async with deployed(
        place,
        port=free_port(),
        database=postgres.app,
        temporal=stack.temporal,
        task_queue=f"traced-{uuid4().hex[:12]}",
        llm=llm.url,
        collector=collector.url,
        TASKFORCE_HTTP_ALLOWED_HOSTS=receiver.place,
    ) as processes:
        await processes.gateway()
        yield processes
