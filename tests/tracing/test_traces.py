"""One connected trace a run, from the gateway to the model, of the processes as they are deployed."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import httpx
import pytest

from taskforce.core.domain.runs.run import Run, RunStatus
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.missions import Missions
from tests.fixtures.otlp_receiver import OtlpReceiver, ReceivedSpan, check_connected
from tests.fixtures.scripted_llm import ScriptedLLM, hang, status, text, tool_calls
from tests.fixtures.webhook_receivers import Receiver
from tests.tracing.processes import COLLECTOR_TOKEN, PROVIDER_KEY, SECRET, Deployment, Process

MISSION, ARGUMENT, ANSWER = "canary-of-the-mission", "canary-of-the-argument", "canary-of-the-answer"
RESULT = "10111101"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
async def worker(deployment: Deployment) -> Process:
    return await deployment.worker()


@pytest.fixture
async def person(deployment: Deployment, database: Database, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    await database.register_tenant(tenant, datetime.now(UTC))
    async with deployment.client(tenant, "ada", ["admin"]) as client:
        yield client


async def started(person: httpx.AsyncClient, **headers: str) -> str:
    asked = {"mission": MISSION, "profile": "careful"}
    answer = await person.post("/api/v1/agents/execute", json=asked, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["run_id"])


async def reached(missions: Missions, run_id: str, wanted: RunStatus) -> Run:
    """Waits until a run has a status; not by requests, whose rate is limited."""
    async with asyncio.timeout(240):
        while (run := await missions.run(run_id)).status is not wanted:  # noqa: ASYNC110 - a worker is another process
            await asyncio.sleep(0.05)
    return run


async def traced(collector: OtlpReceiver, run_id: str, *names: str) -> Sequence[ReceivedSpan]:
    """Waits for the spans of a run, these among them, and the root."""

    def complete(_: Sequence[ReceivedSpan]) -> bool:
        spans = collector.trace_of(run_id)
        found = {span.name for span in spans}
        return found.issuperset({*names, "POST /api/v1/agents/execute"})

    await collector.until(complete)
    return collector.trace_of(run_id)


def named(spans: Sequence[ReceivedSpan], name: str) -> list[ReceivedSpan]:
    return sorted((span for span in spans if span.name == name), key=lambda span: span.started)


@pytest.mark.usefixtures("worker")
async def test_a_run_with_tools_an_approval_and_a_webhook_is_one_trace_without_content(
    person: httpx.AsyncClient, missions: Missions, llm: ScriptedLLM, collector: OtlpReceiver, receiver: Receiver
) -> None:
    made = await person.post("/api/v1/admin/webhooks", json={"url": receiver.url(), "events": ["request_created"]})
    assert made.status_code == 201, made.text
    calculation = tool_calls([("calculator", {"expression": "111111*91"})])
    writing = tool_calls([("write_file", {"path": "a.txt", "content": ARGUMENT})])
    llm.script([calculation, writing, text(ANSWER)])
    run_id = await started(person)
    await reached(missions, run_id, RunStatus.WAITING)
    await receiver.until(1)
    asked = await traced(collector, run_id, "open_request", "attempt_delivery", "note_status")
    # Nothing is open while a person is waited for: what is sent so far hangs together.
    check_connected(asked)

    [request] = await missions.pending()
    approved = await person.post(f"/api/v1/admin/requests/{request.approval.request_id}/approve", json={})
    assert approved.status_code == 200, approved.text
    assert (await reached(missions, run_id, RunStatus.COMPLETED)).answer == ANSWER
    spans = await traced(collector, run_id, "record_decision", "execute_tool write_file")
    await collector.until(lambda _: len(named(collector.trace_of(run_id), "call_model")) == 3)
    spans = collector.trace_of(run_id)

    root = check_connected(spans)
    assert (root.name, root.service, root.kind) == ("POST /api/v1/agents/execute", "taskforce-gateway", "server")
    assert {span.service for span in spans} == {"taskforce-gateway", "taskforce-worker"}
    check_generative_ai(spans, run_id)
    check_statements(spans)
    await check_decision(collector, spans)
    last_before, first_after = max(span.started for span in asked), named(spans, "record_decision")[0].started
    assert not [span for span in spans if span.started < last_before and span.ended > first_after]
    check_nothing_secret(collector, str(person.headers["authorization"]).partition(" ")[2])


def check_generative_ai(spans: Sequence[ReceivedSpan], run_id: str) -> None:
    [agent] = named(spans, "invoke_agent Careful assistant")
    assert (agent.kind, agent.run_id) == ("producer", run_id)
    assert agent.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert agent.attributes["gen_ai.agent.id"] == "careful-assistant"
    assert str(agent.attributes["gen_ai.conversation.id"]).startswith(f"{agent.attributes['taskforce.tenant.id']}:")
    for chat in named(spans, "chat scripted"):
        assert (chat.kind, chat.failed) == ("client", False)
        assert (chat.attributes["gen_ai.provider.name"], chat.attributes["gen_ai.request.model"]) == (
            "openai",
            "scripted",
        )
        assert (chat.attributes["gen_ai.usage.input_tokens"], chat.attributes["gen_ai.usage.output_tokens"]) == (20, 5)
        assert chat.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    tools = named(spans, "execute_tool calculator") + named(spans, "execute_tool write_file")
    assert [tool.attributes["gen_ai.tool.call.id"] for tool in tools] == [f"{run_id}/1/1", f"{run_id}/2/1"]
    by_id = {span.span_id: span for span in spans}
    assert {by_id[chat.parent_id].name for chat in named(spans, "chat scripted")} == {"call_model"}
    assert {by_id[tool.parent_id].name for tool in tools} == {"run_tool"}
    # A model's or a tool's span is followed from where the run was started, through the workflow.
    assert {by_id[call.parent_id].name for call in named(spans, "call_model")} == {agent.name}


def check_statements(spans: Sequence[ReceivedSpan]) -> None:
    statements = [span for span in spans if span.attributes.get("db.system.name") == "postgresql"]
    assert {"COMMIT", "BEGIN"} < {span.name for span in statements}
    assert any("INSERT runs" in span.name and span.service == "taskforce-gateway" for span in statements)
    assert any("INSERT transcript" in span.name and span.service == "taskforce-worker" for span in statements)
    assert not any("db.query.text" in span.attributes for span in statements)


async def check_decision(collector: OtlpReceiver, spans: Sequence[ReceivedSpan]) -> None:
    """What a person decides is a request of its own; what follows in the run is linked to it."""
    [recorded] = named(spans, "record_decision")
    await collector.until(lambda found: any("{request_id}/approve" in span.name for span in found))
    [request] = [span for span in collector.spans if span.name.endswith("/requests/{request_id}/approve")]
    assert recorded.links == ((request.trace_id, request.span_id),)
    assert request.trace_id != recorded.trace_id


def check_nothing_secret(collector: OtlpReceiver, token: str) -> None:
    everything = b"".join(collector.bodies)
    for secret in (MISSION, ARGUMENT, ANSWER, RESULT, token, SECRET, PROVIDER_KEY, COLLECTOR_TOKEN):
        assert secret.encode() not in everything, secret
    assert all(sent["authorization"] == f"Bearer {COLLECTOR_TOKEN}" for sent in map(_lower, collector.headers))


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.mark.usefixtures("worker")
async def test_a_callers_trace_goes_on_through_a_run_that_continues_as_new(
    person: httpx.AsyncClient, missions: Missions, llm: ScriptedLLM, collector: OtlpReceiver
) -> None:
    steps = 14
    each = [tool_calls([("calculator", {"expression": f"{n}+{m}"}) for m in range(10)]) for n in range(steps)]
    llm.script([*each, text("Done.")])
    run_id = await started(person, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    await reached(missions, run_id, RunStatus.COMPLETED)
    await collector.until(lambda _: len(named(collector.trace_of(run_id), "call_model")) == steps + 1)
    spans = collector.trace_of(run_id)
    assert {span.trace_id for span in spans} == {TRACE}
    known = {span.span_id for span in spans}
    assert {span.parent_id for span in spans} - known == {"b7ad6b7169203331"}
    parts = {span.attributes["temporal.workflow.run_id"] for span in named(spans, "call_model")}
    assert len(parts) > 1


async def test_a_run_whose_worker_is_killed_and_whose_model_fails_stays_one_trace(
    deployment: Deployment,
    worker: Process,
    person: httpx.AsyncClient,
    missions: Missions,
    llm: ScriptedLLM,
    collector: OtlpReceiver,
) -> None:
    before = len(llm.requests)
    calculation = tool_calls([("calculator", {"expression": "1+1"})])
    llm.script([status(500), calculation, hang("Well"), text("Done.")])
    run_id = await started(person)
    async with asyncio.timeout(120):
        while len(llm.requests) < before + 3:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.02)
    # Of the second call nothing may be sent before it has ended: what is sent hangs together.
    check_connected(await traced(collector, run_id, "chat scripted"))
    await worker.stop(signal.SIGKILL)
    check_connected(collector.trace_of(run_id))
    await deployment.worker()
    await reached(missions, run_id, RunStatus.COMPLETED)
    await collector.until(lambda _: len(named(collector.trace_of(run_id), "call_model")) == 3)
    spans = collector.trace_of(run_id)
    check_connected(spans)
    failed, *replied = named(spans, "chat scripted")
    assert (failed.failed, failed.attributes["error.type"]) == (True, "model_unavailable")
    assert [span.failed for span in replied] == [False, False]
