"""Fixtures on real parts: PostgreSQL, Temporal, a worker of the product, and a scripted model server."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from types import FunctionType
from typing import Any
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from cli.stack.postgres import EmbeddedPostgres
from cli.stack.temporal import TemporalDevServer
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.notifications import Publisher
from taskforce.infrastructure.tools.registry import ToolRegistry
from tests.fixtures import probe_tools
from tests.fixtures.loop_holds import HOLDS, LoopHolds, LoopSpy
from tests.fixtures.missions import SUBJECTS, Missions
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.fixtures.stack import MASTER_KEY, PROOF_KEY, DatabaseUrls, Stack, StackAddress, own_database
from worker import WorkerParts, build_worker, spare_collector
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect

# An example that takes longer than 200 ms says something of the machine, not of the product.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

_STACK = pytest.StashKey[Stack]()
# `make test-fast` chooses it: hypothesis then looks at less, and the same at each run.
settings.register_profile(
    "fast",
    max_examples=10,
    deadline=None,
    derandomize=True,
    # Of so few examples the share that is left out says little.
    suppress_health_check=[HealthCheck.filter_too_much],
)

_ADDRESS = pytest.StashKey[StackAddress]()
_SERVER_FIXTURES = frozenset({"stack", "temporal", "server_program"})
_SERVER_MODULES = frozenset(
    {
        EmbeddedPostgres.__module__,
        TemporalDevServer.__module__,
        WorkflowEnvironment.__module__,
        "tests.chaos.private_stack",
    }
)
_PROCESS_FIXTURES = frozenset({"taskforce", "shell", "checkout"})


def pytest_configure(config: pytest.Config) -> None:
    os.environ["TASKFORCE_PROFILE"] = "test"
    # By default a traceback shows the variables of each frame; those of the gateway take half a minute to write.
    rendered = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], rendered])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background, everything below would inherit a deaf ear to Ctrl-C, which some tests press.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "server: needs a PostgreSQL or a Temporal; set by what a test uses")
    config.addinivalue_line("markers", "process: starts the command, or the set-up; set by what a test uses")
    if _without_servers(config):
        _refuse_servers()
    shared = getattr(config, "workerinput", {}).get("stack")
    if shared is not None:
        config.stash[_ADDRESS] = StackAddress(**shared)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks what needs a server, or starts the command: by its fixtures, or by what its module can start."""
    if not isinstance(item, pytest.Function):
        return
    fixtures = set(item.fixturenames)
    if fixtures & _SERVER_FIXTURES or any(_origin(one) in _SERVER_MODULES for one in vars(item.module).values()):
        item.add_marker("server")
    if fixtures & _PROCESS_FIXTURES:
        item.add_marker("process")


def _origin(value: object) -> str | None:
    return value.__module__ if isinstance(value, type | FunctionType) else None


def _without_servers(config: pytest.Config) -> bool:
    return "not server" in str(config.getoption("markexpr"))


def _refuse_servers() -> None:
    """Shows a test that starts a server and is not marked: nothing would tell of it until it is slow elsewhere."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        pytest.fail("This test starts a server, which tests/conftest.py does not see; see `pytest_itemcollected`.")

    EmbeddedPostgres.start = EmbeddedPostgres.create_database = refuse  # type: ignore[assignment,method-assign]
    TemporalDevServer.launch = refuse  # type: ignore[method-assign]


def _started(config: pytest.Config) -> StackAddress:
    if _ADDRESS not in config.stash:
        config.stash[_STACK] = Stack()
        config.stash[_ADDRESS] = config.stash[_STACK].start()
    return config.stash[_ADDRESS]


class _Share:
    """With several processes the first starts the servers and tells the others."""

    @staticmethod
    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(node: Any) -> None:
        if _without_servers(node.config):
            return
        node.workerinput["stack"] = _started(node.config).as_dict()


pytest_configure_node = _Share.pytest_configure_node


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _STACK in session.config.stash:
        session.config.stash[_STACK].stop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid: str) -> None:
    HOLDS.current = nodeid


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := HOLDS.lines():
        terminalreporter.section("longest holds of the event loop")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
async def loop_holds() -> AsyncIterator[LoopHolds]:
    """Watches the session's loop, in which workers and gateways of most tests run."""
    with LoopSpy(HOLDS):
        yield HOLDS


@pytest.fixture(autouse=True)
def no_long_holds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test in which a worker's work held the loop."""
    yield
    if held := HOLDS.heaviest.pop(request.node.nodeid, None):
        seconds, who = held
        pytest.fail(f"The loop's thread worked for {seconds * 1_000:.0f} ms on end: {who or 'seen by nobody'}")


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> StackAddress:
    return _started(request.config)


@pytest.fixture(scope="session")
def postgres(stack: StackAddress, worker_id: str) -> DatabaseUrls:
    return own_database(stack, f"tests_{worker_id}")


@pytest.fixture(scope="session")
async def database(postgres: DatabaseUrls) -> AsyncIterator[Database]:
    workflow_client = Database(postgres.app, pool_size=20, sealer=ColumnSealer(MASTER_KEY))
    yield workflow_client
    await workflow_client.close()


@pytest.fixture(scope="session")
def temporal_address(stack: StackAddress, worker_id: str) -> TemporalAddress:
    return TemporalAddress(stack.temporal, task_queue=f"tests-{worker_id}")


@pytest.fixture(scope="session")
async def temporal(temporal_address: TemporalAddress) -> Client:
    return await connect(temporal_address)


@pytest.fixture(scope="session")
def workflow_client(temporal: Client, temporal_address: TemporalAddress) -> WorkflowClient:
    return WorkflowClient(temporal, temporal_address.task_queue, PROOF_KEY)


@pytest.fixture
def tenant() -> str:
    return f"tenant-{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
async def scripted() -> AsyncIterator[ScriptedLLM]:
    async with ScriptedLLM() as server:
        yield server


@pytest.fixture(scope="session")
async def parts(database: Database, postgres: DatabaseUrls, scripted: ScriptedLLM) -> AsyncIterator[WorkerParts]:
    os.environ["OPENAI_API_KEY"] = "sk-test-0123456789abcdef0123456789abcdef"
    model = LiteLLMModel(api_base=scripted.url)
    # As at the start of a worker: while LiteLLM is imported, and the collector walks it, nothing else runs.
    await model.prepare()
    spare_collector()
    async with Publisher(postgres.app) as live:
        tools = ToolRegistry([*ToolRegistry.discover().tools, *probe_tools.TOOLS])
        yield WorkerParts(
            database=database,
            live=live,
            model=model,
            tools=tools,
            http=GuardedHttp(),
            handlers=SUBJECTS,
            proof_key=PROOF_KEY,
        )
    await model.aclose()


@pytest.fixture(scope="session")
async def worker(
    temporal: Client, temporal_address: TemporalAddress, parts: WorkerParts, loop_holds: LoopHolds
) -> AsyncIterator[WorkerParts]:
    del loop_holds
    async with build_worker(temporal, temporal_address.task_queue, parts):
        yield parts


@pytest.fixture
def missions(database: Database, workflow_client: WorkflowClient, tenant: str) -> Missions:
    return Missions(database, workflow_client, tenant)
