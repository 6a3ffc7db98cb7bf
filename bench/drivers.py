"""Drivers that start runs of the product and of the baselines, so many at a time, and time each."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

import httpx

from bench.baseline import Floor, Honest, Shape
from bench.cpu import CpuMeter
from bench.stack import BASELINE, GATEWAY_SECRET, PRODUCT, BenchStack
from bench.stub import model_name
from taskforce.application.identity.principals import Actor, resolve_principal
from taskforce.application.runs.creation import NewRun, create_run
from taskforce.application.runs.lifecycle import require_run
from taskforce.core.domain.identity.principals import AccessRules, Principal
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.runs.run import AgentDefinition, Limits, workflow_id
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.identity import Identity
from taskforce.infrastructure.auth.jwt_provider import mint_development_token
from taskforce.infrastructure.config.settings import Settings

TENANT = "bench"
USER = "alice"
RUN_SECONDS = 120
QUICK = Shape("calculator", quick=True)
REGULAR = Shape("remember", quick=False)
_NUMBERS = count()

Once = Callable[[], Awaitable[object]]
"""Starts one run and waits for its end."""


@dataclass(slots=True)
class Measured:
    """Holds the measurements of runs of one kind, over all rounds.

    Attributes:
        latencies: Seconds of each run.
        rates: Runs per second of each round.
        cpu: CPU seconds by process, of all rounds.
    """

    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)

    def add(self, latencies: list[float], seconds: float, cpu: Mapping[str, float]) -> None:
        """Adds a round."""
        self.latencies += latencies
        self.rates.append(len(latencies) / seconds)
        for name, used in cpu.items():
            self.cpu[name] = self.cpu.get(name, 0.0) + used


class Product:
    """Starts runs as the gateway does: stores the run's row, then starts its workflow.

    Args:
        stack: The stack.
        task_queue: The queue of the worker that runs them.
        tenant_id: Their tenant.
    """

    def __init__(self, stack: BenchStack, task_queue: str = PRODUCT, tenant_id: str = TENANT) -> None:
        self._stack = stack
        self.tenant_id = tenant_id
        self._workflow_client = stack.workflow_client(task_queue)

    async def authenticate(self) -> None:
        """Stores tenant and user."""
        await know_user(self._stack, self.tenant_id)

    async def start(self, tool: str, calls: int = 4, limits: Limits | None = None) -> str:
        """Starts a run whose model calls a tool so many times; returns the run's id."""
        mission = _mission(self.tenant_id, tool, calls, limits or Limits())
        run_id = (await create_run(self._stack.database, mission)).run_id
        run = await require_run(self._stack.database, self.tenant_id, run_id)
        await self._workflow_client.runs.start(run.spec)
        return run_id

    async def ended(self, run_id: str) -> str:
        """Waits for the end of a run; returns its status."""
        handle = self._stack.client.get_workflow_handle(workflow_id(self.tenant_id, run_id), result_type=str)
        return str(await handle.result())

    def once(self, shape: Shape) -> Once:
        """Returns the driver of one run of a shape."""

        async def run() -> None:
            status = await self.ended(await self.start(shape.tool))
            if status != "completed":
                raise RuntimeError(f"a run ended as {status}")

        return run


class OverHttp:
    """Starts runs through the gateway.

    Args:
        stack: The stack, with its worker.
        client: A client of the gateway, with a token.
    """

    def __init__(self, stack: BenchStack, client: httpx.AsyncClient) -> None:
        self._product = Product(stack)
        self._client = client

    async def once(self) -> None:
        """Starts one run with the quick tool, and waits for its end."""
        body = {"mission": "Work.", "model": model_name(QUICK.tool, 4)}
        answer = await self._client.post("/api/v1/agents/execute", json=body)
        if answer.status_code != httpx.codes.ACCEPTED:
            raise RuntimeError(f"the gateway answered {answer.status_code}: {answer.text[:300]}")
        status = await self._product.ended(answer.json()["run_id"])
        if status != "completed":
            raise RuntimeError(f"a run ended as {status}")


@asynccontextmanager
async def over_http(stack: BenchStack) -> AsyncIterator[Once]:
    """Yields a driver through a gateway that lives as long as the block."""
    defaults = {name: str(Settings.model_fields[f"jwt_{name}"].default) for name in ("issuer", "audience")}
    token = mint_development_token(GATEWAY_SECRET, TENANT, USER, ["operator"], 3_600, **defaults)
    headers = {"Authorization": f"Bearer {token}"}
    async with stack.gateway() as url, httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        yield OverHttp(stack, client).once


def baseline(stack: BenchStack, kind: type[Floor] | type[Honest], shape: Shape) -> Once:
    """Returns the driver of one run of a baseline."""

    async def run() -> None:
        name = f"bench-{kind.__name__}-{next(_NUMBERS)}"
        await stack.client.execute_workflow(kind.__name__, shape, id=name, task_queue=BASELINE)

    return run


async def measure(once: Once, runs: int, at_a_time: int, meter: CpuMeter, into: Measured) -> None:
    """Executes runs, so many at a time, and adds their times."""
    latencies: list[float] = []
    before, began = meter.read(), time.perf_counter()
    # One iterator for all: each worker takes the next run as soon as it is free.
    left = iter(range(runs))

    async def work() -> None:
        for _ in left:
            started = time.perf_counter()
            # A hanging run ends the benchmark; the worker's log shows why.
            async with asyncio.timeout(RUN_SECONDS):
                await once()
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(work() for _ in range(at_a_time)))
    into.add(latencies, time.perf_counter() - began, meter.since(before))


async def know_user(stack: BenchStack, tenant_id: str = TENANT) -> None:
    """Stores tenant and user, as the gateway does when it first sees a token."""
    now = datetime.now(UTC)
    identity = Identity(
        user_id=USER,
        tenant_id=tenant_id,
        username=USER,
        email=None,
        roles=frozenset({"operator"}),
        issuer="bench",
        issued_at=now,
        expires_at=now,
    )
    await resolve_principal(stack.database, stack.database, identity, AccessRules(), now)


def _mission(tenant_id: str, tool: str, calls: int, limits: Limits) -> NewRun:
    agent = AgentDefinition(
        agent_id="bench",
        name="Bench",
        system_prompt="You are a benchmark.",
        tools=None,
        models=(model_name(tool, calls),),
    )
    return NewRun(
        _actor(tenant_id),
        mission="Work.",
        agent=agent,
        profile="dev",
        limits=limits,
        context={},
        session_id=None,
        idempotency_key=None,
        body={},
    )


def _actor(tenant_id: str) -> Actor:
    now = datetime.now(UTC)
    # Without rights, which are checked before `create_run` and not by it.
    nothing = frozenset[str]()
    user, tenant = UserRecord(tenant_id, USER, USER), Tenant(tenant_id, tenant_id, now, now)
    return Actor(Principal(user, tenant, nothing, frozenset(), nothing), AccessRules(), None, now)
