"""What gateway and worker write, as they are deployed: JSON lines with their context, without content or secrets."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls
from tests.fixtures.stack import StackAddress
from tests.tracing.processes import COLLECTOR_TOKEN, PROVIDER_KEY, SECRET, Deployment

MISSION, ANSWER = "canary-of-the-mission", "canary-of-the-answer"
RESULT = "10111101"
CONTEXT = ("tenant_id", "user_id", "session_id", "agent_id", "run_id", "trace_id", "span_id")


def about(lines: Sequence[Mapping[str, Any]], run_id: str) -> Sequence[Mapping[str, Any]]:
    return [line for line in lines if line.get("run_id") == run_id]


async def test_lines_tell_whose_they_are_and_hold_no_content(
    deployment: Deployment, database: Database, missions: Missions, llm: ScriptedLLM, tenant: str
) -> None:
    await database.register_tenant(tenant, now())
    worker = await deployment.worker()
    [gateway] = [one for one in deployment.running if one is not worker]
    llm.script([tool_calls([("calculator", {"expression": "111111*91"})]), text(ANSWER)])
    async with deployment.client(tenant, "ada", ["admin"]) as client:
        asked = await client.post(
            "/api/v1/agents/execute", json={"mission": MISSION}, headers={"x-request-id": "request-1"}
        )
        run_id = str(asked.json()["run_id"])
        # A worker imports LiteLLM before its first call, which takes a while on a busy machine.
        await worker.logged("agent.execution.completed")
        await missions.ended(run_id)
        # Neither reaches a line, however it is asked.
        await client.get(f"/api/v1/runs/{run_id}", params={"token": SECRET})
    [request] = [line for line in gateway.lines() if line.get("request_id") == "request-1"]
    done = about(worker.lines(), run_id)
    check_context(request, done)
    assert await worker.stop(signal.SIGTERM) == 0
    for process in (worker, gateway):
        check_lines(process.lines())
        for secret in (MISSION, ANSWER, RESULT, SECRET, PROVIDER_KEY, COLLECTOR_TOKEN):
            assert secret not in process.text(), secret


def check_context(request: Mapping[str, Any], done: Sequence[Mapping[str, Any]]) -> None:
    assert (request["event"], request["status"], request["user_id"]) == ("http.request", 202, "ada")
    events = [line["event"] for line in done]
    assert events == ["agent.execution.started", "tool.executed", "agent.execution.completed"]
    for line in (request, *done):
        assert [name for name in CONTEXT if not line.get(name)] == [], line
    # One trace and one run, over both processes.
    assert {line["trace_id"] for line in done} == {request["trace_id"]}
    assert {line["activity"] for line in done} == {"call_model", "run_tool"}


def check_lines(lines: Sequence[Mapping[str, Any]]) -> None:
    for line in lines:
        assert {"event", "level", "timestamp", "logger"} <= set(line), line


async def test_the_core_of_temporals_sdk_writes_as_the_process_does(
    deployment: Deployment, stack: StackAddress
) -> None:
    async with cable(stack.temporal) as (address, cut):
        worker = await deployment.worker(TEMPORAL_ADDRESS=address)
        cut()
        async with asyncio.timeout(240):
            while not (told := _of_core(worker.lines())):  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.1)
        await worker.stop(signal.SIGKILL)
    check_lines(told)
    assert {line["level"] for line in told} <= {"warning", "error"}


def _of_core(lines: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return [line for line in lines if str(line["logger"]).startswith("temporalio.core")]


@asynccontextmanager
async def cable(to: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Forwards a port, until it is cut."""
    host, _, port = to.rpartition(":")
    ends: list[asyncio.StreamWriter] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def plugged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        ends.extend((writer, back))
        await asyncio.gather(forward(reader, back), forward(there, writer))

    server = await asyncio.start_server(plugged, "127.0.0.1", 0)

    def cut() -> None:
        server.close()
        for end in ends:
            end.close()

    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    cut()
