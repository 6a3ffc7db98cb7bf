"""The gateway as a process of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from api.__main__ import warn_if_exposed
from cli.stack.ports import free_port
from taskforce.core.domain.runs.selection import AgentSelector
from taskforce.infrastructure.auth.jwt_provider import mint_development_token
from taskforce.infrastructure.config.settings import REPOSITORY, Settings
from taskforce.infrastructure.profile_agents import ProfileAgents
from tests.api.gateway import SECRET, execute
from tests.api.web.sockets import connected
from tests.fixtures import stack as servers
from workflows.client.connection import TemporalAddress


def environment(postgres: servers.DatabaseUrls, temporal: TemporalAddress, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TASKFORCE_", "TEMPORAL_"))}
    return kept | {
        "DATABASE_URL": postgres.app,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_TASK_QUEUE": "nobody-polls-the-process",
        "TASKFORCE_PORT": str(port),
        "TASKFORCE_PROFILE": "dev",
        "TASKFORCE_MODELS": "openai/*",
        "JWT_SECRET": SECRET,
        "JWT_ISSUER": "tests",
        "JWT_AUDIENCE": "tests",
    }


async def until_alive(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                assert (await client.get("/health")).status_code == 200
                return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


async def until_listening(url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with connected(url):
                    return
            except OSError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def process_with(
    postgres: servers.DatabaseUrls, temporal: TemporalAddress, limits: dict[str, str]
) -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", cwd=REPOSITORY, env=environment(postgres, temporal, port) | limits,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    await until_listening(url)
    yield url
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_it_serves_and_ends_orderly_on_sigterm_though_a_stream_is_open(
    postgres: servers.DatabaseUrls, temporal_address: TemporalAddress, tenant: str
) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", cwd=REPOSITORY, env=environment(postgres, temporal_address, port),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    token = mint_development_token(SECRET, tenant, "olga", ["operator"], issuer="tests", audience="tests")
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=60
    ) as client:
        await until_alive(client)
        links = (await execute(client))["links"]
        async with client.stream("GET", links["events"]) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("event: run.queued"):
                    process.send_signal(signal.SIGTERM)
    _, log = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 0, log
    lines = [json.loads(line) for line in log.decode().splitlines()]
    assert lines[-1]["event"] == "gateway.ended"
    (asked,) = [line for line in lines if line.get("path") == "/api/v1/agents/execute"]
    assert (asked["tenant_id"], asked["user_id"], asked["agent_id"]) == (tenant, "olga", "assistant")
    assert asked["request_id"]
    assert asked["session_id"].startswith(f"{tenant}:session-")
    assert SECRET not in log.decode()
    assert token not in log.decode()


async def test_its_patience_is_a_setting(postgres: servers.DatabaseUrls, temporal_address: TemporalAddress) -> None:
    short = {"TASKFORCE_HTTP_HEADER_SECONDS": "0.2"}
    async with process_with(postgres, temporal_address, short) as url, connected(url) as silent:
        assert await silent.end() == b""


async def test_its_room_is_a_setting(postgres: servers.DatabaseUrls, temporal_address: TemporalAddress) -> None:
    few = {"TASKFORCE_HTTP_HEADERS": "20"}
    async with process_with(postgres, temporal_address, few) as url, connected(url) as talkative:
        await talkative.send(b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 21 + b"\r\n")
        assert (await talkative.last_answer()).code == "headers_too_large"


async def test_what_is_missing_is_said_in_one_line(
    postgres: servers.DatabaseUrls, temporal_address: TemporalAddress
) -> None:
    variables = environment(postgres, temporal_address, free_port())
    del variables["DATABASE_URL"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", cwd=REPOSITORY, env=variables, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert said.decode().startswith("bad_setting: DATABASE_URL is not set")


@pytest.mark.parametrize("variable", ["JWT_ISSUER", "JWT_AUDIENCE"])
async def test_outside_development_it_does_not_start_without_knowing_whose_tokens_to_believe(
    postgres: servers.DatabaseUrls, temporal_address: TemporalAddress, variable: str
) -> None:
    variables = environment(postgres, temporal_address, free_port()) | {"TASKFORCE_PROFILE": "enterprise"}
    del variables[variable]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", cwd=REPOSITORY, env=variables, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert said.decode().startswith(f"bad_setting: {variable} is not set")


@pytest.mark.parametrize(
    ("profile", "host", "warns"),
    [
        ("dev", "0.0.0.0", True),
        ("dev", "gateway.example", True),
        ("test", "::", True),
        ("dev", "127.0.0.1", False),
        ("dev", "::1", False),
        ("dev", "localhost", False),
        ("enterprise", "0.0.0.0", False),
    ],
)
def test_a_development_profile_that_others_can_reach_is_warned_of(profile: str, host: str, warns: bool) -> None:
    with capture_logs() as logged:
        warn_if_exposed(Settings(TASKFORCE_PROFILE=profile, TASKFORCE_HOST=host))
    assert [(one["event"], one["log_level"], one["host"]) for one in logged] == (
        [("development_profile_exposed", "warning", host)] if warns else []
    )


async def test_the_gateway_never_loads_litellm() -> None:
    script = "import sys, api.__main__, api.app; sys.exit('litellm' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=REPOSITORY)
    assert await asyncio.wait_for(process.wait(), 60) == 0


def test_profiles_are_read_again_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "dev.yaml"
    file.write_text("profile: dev\nagent: {id: one}\n")
    agents = ProfileAgents(tmp_path, "dev", {})
    assert agents.choose(AgentSelector()).agent.agent_id == "one"
    file.write_text("profile: dev\nagent: {id: two}\n")
    os.utime(file, ns=(1, 1))
    assert agents.choose(AgentSelector()).agent.agent_id == "two"
    (tmp_path / "broken.yaml").write_text("[")
    assert agents.choose(AgentSelector(agent_id="two")).profile == "dev"
