"""A run's events as they happen."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from api.composition import StreamTimings
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import Gateway, assert_problem, execute, serving
from tests.api.run_endings import _now, finish
from tests.api.sse import follow
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls


async def add_events(database: Database, tenant: str, run_id: str, count: int) -> None:
    async with database.tenant(tenant) as records:
        for number in range(count):
            await records.events.append(run_id, "word.added", {"author_id": "olga", "text": str(number)}, _now())


async def test_a_stream_tells_all_and_ends_with_the_run(
    operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    links = (await execute(operator))["links"]
    run_id = links["self"].rpartition("/")[2]
    await add_events(database, tenant, run_id, 450)
    await finish(database, tenant, run_id)

    events = [event async for event in follow(operator, links["events"])]

    assert [data["seq"] for _, data in events] == list(range(1, 453))
    assert events[0][0] == "run.queued"
    kind, last = events[-1]
    assert (kind, last["type"], last["status"], last["error_code"]) == (
        "run.finished",
        "run.finished",
        "failed",
        "too_bad",
    )
    assert last["at"].endswith("Z")


async def test_a_stream_resumes_after_the_last_event(
    operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    links = (await execute(operator))["links"]
    run_id = links["self"].rpartition("/")[2]
    await add_events(database, tenant, run_id, 5)
    await finish(database, tenant, run_id)

    by_header = [data["seq"] async for _, data in follow(operator, links["events"], {"last-event-id": "4"})]
    by_query = [data["seq"] async for _, data in follow(operator, f"{links['events']}?after=5")]
    at_the_end = [data async for _, data in follow(operator, links["events"], {"last-event-id": "7"})]
    beyond = [data async for _, data in follow(operator, links["events"], {"last-event-id": "999999999999999"})]

    assert (by_header, by_query) == ([5, 6, 7], [6, 7])
    assert at_the_end == beyond == []


@pytest.mark.parametrize("last", ["", "-1", "x", "1.5", "9" * 40, "\u0664"])
async def test_a_last_event_id_that_is_none(operator: httpx.AsyncClient, last: str) -> None:
    links = (await execute(operator))["links"]
    answer = await operator.get(links["events"], headers={b"last-event-id": last.encode()})
    assert_problem(answer, 422, "last_event_id_invalid")


async def test_what_happens_while_a_stream_is_open_is_told_even_when_notices_are_lost(
    operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    links = (await execute(operator))["links"]
    run_id = links["self"].rpartition("/")[2]
    told = []
    async for kind, _ in follow(operator, links["events"]):
        told.append(kind)
        if kind == "run.queued":
            await add_events(database, tenant, run_id, 1)
            await finish(database, tenant, run_id)
    assert told == ["run.queued", "word.added", "run.finished"]


async def test_words_come_live_and_milestones_follow(working: httpx.AsyncClient, scripted: ScriptedLLM) -> None:
    asks = tool_calls([("calculator", {"expression": "6*7"})], says="I calculate.")
    scripted.script([asks, text("It is ", "42", ".")])
    links = (await execute(working))["links"]

    events = [event async for event in follow(working, links["events"])]

    milestones = [(kind, data) for kind, data in events if kind != "token"]
    assert [data["seq"] for _, data in milestones] == list(range(1, len(milestones) + 1))
    kinds = [kind for kind, _ in milestones]
    assert kinds == ["run.queued", "run.started", "step.replied", "tool.finished", "step.replied", "run.finished"]
    assert milestones[3][1]["status"] == "succeeded"
    for kind, data in events:
        if kind == "token":
            assert set(data) == {"step", "attempt", "text"}
    run = (await working.get(links["self"])).json()
    assert (run["status"], run["answer"], run["steps"], run["tool_calls"]) == ("completed", "It is 42.", 2, 1)


async def test_tokens_reach_the_reader_and_those_of_a_told_step_do_not(
    gateway: Gateway, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    links = (await execute(operator))["links"]
    run_id = links["self"].rpartition("/")[2]
    live = gateway.parts.live
    async with database.tenant(tenant) as records:
        await records.events.append(run_id, "step.replied", {"step": 1, "tools": [], "text": "One."}, _now())
    words = ""
    async for kind, data in follow(operator, links["events"]):
        if kind == "step.replied":
            live.text(tenant, run_id, 1, 1, "late")
            live.text(tenant, run_id, 2, 1, "Hel")
            live.text(tenant, run_id, 2, 1, "lo \n\n\u2028data: x")
        if kind == "token":
            assert (data["step"], data["attempt"]) == (2, 1)
            words += data["text"]
            if words.endswith("x"):
                await finish(database, tenant, run_id)
    assert words == "Hello \n\n\u2028data: x"


async def test_a_stream_ends_when_its_reader_may_not_read_any_more(
    gateway: Gateway, database: Database, tenant: str
) -> None:
    rhythm = StreamTimings(poll=0.01, keep_alive=15, recheck=0)
    parts = replace(gateway.parts, rhythm=rhythm, closing=asyncio.Event())
    async with serving(parts) as other, other.clients() as client_for:
        client = client_for(tenant, "olga", ["operator"])
        links = (await execute(client))["links"]
        told = []
        async for kind, _ in follow(client, links["events"]):
            told.append(kind)
            async with database.tenant(tenant) as records:
                user = await records.users.get("olga")
                assert user is not None
                await records.users.save(replace(user, active=False), _now())
        assert told == ["run.queued"]


async def test_a_silent_stream_is_kept_alive(gateway: Gateway, tenant: str) -> None:
    parts = replace(gateway.parts, rhythm=StreamTimings(poll=0.01, keep_alive=0, recheck=60), closing=asyncio.Event())
    async with serving(parts) as other, other.clients() as client_for:
        client = client_for(tenant, "olga", ["operator"])
        links = (await execute(client))["links"]
        async with client.stream("GET", links["events"]) as answer:
            async for line in answer.aiter_lines():
                if line.startswith(":"):
                    break
        assert line == ": keep-alive"


async def test_the_end_of_the_server_ends_streams_and_waits(gateway: Gateway, tenant: str) -> None:
    parts = replace(gateway.parts, closing=asyncio.Event(), rhythm=StreamTimings(poll=3_600))
    async with serving(parts) as other, other.clients() as client_for:
        client = client_for(tenant, "olga", ["operator"])
        links = (await execute(client))["links"]
        waiting = asyncio.create_task(
            client.post("/api/v1/agents/execute", json={"mission": "x"}, headers={"prefer": "wait=60"})
        )
        told = []
        async for kind, _ in follow(client, links["events"]):
            told.append(kind)
            while len(parts.listener._streams) < 2:  # noqa: ASYNC110 - the listener has no event for it
                await asyncio.sleep(0.01)
            other.server.should_exit = True
        assert told == ["run.queued"]
        assert (await waiting).status_code == 202


async def test_a_reader_who_leaves_leaves_nothing_behind(
    gateway: Gateway, operator: httpx.AsyncClient, tenant: str
) -> None:
    links = (await execute(operator))["links"]
    key = (tenant, links["self"].rpartition("/")[2])
    async for _ in follow(operator, links["events"]):
        assert key in gateway.parts.listener._streams
        break
    async with asyncio.timeout(60):
        while key in gateway.parts.listener._streams:  # noqa: ASYNC110 - the listener has no event for it
            await asyncio.sleep(0.01)


async def test_a_client_that_waits_gets_the_ended_run(working: httpx.AsyncClient, scripted: ScriptedLLM) -> None:
    scripted.script([text("Hello.")])
    answer = await working.post(
        "/api/v1/agents/execute",
        json={"mission": "Say hello.", "model": "openai/scripted"},
        headers={"prefer": "wait=60"},
    )
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=60"
    assert answer.headers["location"] == answer.json()["links"]["self"]
    assert (answer.json()["status"], answer.json()["answer"]) == ("completed", "Hello.")
