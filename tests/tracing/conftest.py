"""A deployment of real processes on the session's servers, and a receiver of their spans."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cli.stack.ports import free_port
from tests.fixtures.otlp_receiver import OtlpReceiver, receiving_spans
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.fixtures.stack import DatabaseUrls, StackAddress
from tests.fixtures.webhook_receivers import Receiver, receiving
from tests.tracing.processes import Deployment, deployed


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
