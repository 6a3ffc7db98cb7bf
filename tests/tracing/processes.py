"""Gateway and workers as they are deployed, `python -m api` and `python -m worker`, each to be stopped or killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from taskforce.infrastructure.auth.jwt_provider import mint_development_token
from taskforce.infrastructure.config.settings import REPOSITORY
from tests.fixtures.stack import ENCRYPTION_KEY

SECRET = "a-secret-that-only-tests-know-0123456789"
ISSUER = "tests"
PROVIDER_KEY = "sk-test-0123456789abcdef0123456789abcdef"
COLLECTOR_TOKEN = "a-token-that-only-the-collector-knows"


@dataclass
class Process:
    """A process, and what it has logged."""

    child: "subprocess.Popen[bytes]"
    file: Path

    def text(self) -> str:
        return self.file.read_text()

    def lines(self) -> Sequence[Mapping[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    async def logged(self, event: str) -> Mapping[str, Any]:
        """Waits for a line."""
        async with asyncio.timeout(240):
            while not (found := [line for line in self.lines() if line["event"] == event]):
                assert self.child.poll() is None, self.text()
                await asyncio.sleep(0.05)
        return found[0]

    async def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ends it, and waits for that."""
        if self.child.poll() is None:
            self.child.send_signal(by)
        return await asyncio.to_thread(self.child.wait, 60)


@dataclass
class Deployment:
    """A deployment of processes on the session's servers.

    Attributes:
        place: Directory of their logs.
        environment: What each of them sees.
        port: Where the gateway listens.
    """

    place: Path
    environment: Mapping[str, str]
    port: int
    running: list[Process] = field(default_factory=list)

    async def start(self, module: str, ready: str, **more: str) -> Process:
        """Starts a process, and waits until it says that it is ready."""
        file = self.place / f"{module}-{len(self.running)}.log"
        with file.open("wb") as log:
            child = subprocess.Popen(  # noqa: ASYNC220 - the fork takes a moment, and the log must be open
                [sys.executable, "-m", module],
                cwd=REPOSITORY,
                env={**self.environment, **more},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        process = Process(child, file)
        self.running.append(process)
        await process.logged(ready)
        return process

    async def worker(self, **more: str) -> Process:
        return await self.start("worker", "worker.ready", **more)

    async def gateway(self, **more: str) -> Process:
        gateway = await self.start("api", "gateway.starting", **more)
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as client, asyncio.timeout(120):
            while not await _answers(client):  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.05)
        return gateway

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, tenant: str, user: str, roles: Iterable[str]) -> httpx.AsyncClient:
        token = mint_development_token(SECRET, tenant, user, roles, issuer=ISSUER, audience=ISSUER)
        return httpx.AsyncClient(base_url=self.url, headers={"authorization": f"Bearer {token}"}, timeout=60)


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def deployed(
    place: Path, *, port: int, database: str, temporal: str, task_queue: str, llm: str, collector: str, **more: str
) -> AsyncIterator[Deployment]:
    """Yields a deployment without processes, and ends those that it was given."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    # Coverage of processes begins by these.
    kept |= {name: value for name, value in os.environ.items() if name.startswith("COV")}
    environment = {
        **kept,
        "DATABASE_URL": database,
        "TEMPORAL_ADDRESS": temporal,
        "TEMPORAL_TASK_QUEUE": task_queue,
        "TASKFORCE_PORT": str(port),
        "TASKFORCE_PROFILE": "dev",
        "TASKFORCE_MODEL": "openai/scripted",
        "TASKFORCE_ENCRYPTION_KEY": ENCRYPTION_KEY,
        "JWT_SECRET": SECRET,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": ISSUER,
        "OPENAI_API_KEY": PROVIDER_KEY,
        "OPENAI_BASE_URL": llm,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {COLLECTOR_TOKEN}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        **more,
    }
    deployment = Deployment(place, environment, port)
    try:
        yield deployment
    finally:
        for process in deployment.running:
            await process.stop(signal.SIGKILL)
