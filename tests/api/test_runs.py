"""Reading and steering runs."""

from datetime import UTC, datetime

import httpx
import pytest

from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.metering.usage import UsageEntry
from taskforce.core.domain.runs.transcript import CallStatus, Entry, EntryKind
from taskforce.core.interfaces.llm import ModelCall, RequestedCall
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute
from tests.api.run_endings import finish
from tests.api.sse import follow
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM, hang, text, tool_calls

PLAN = '{"items": [{"text": "Look", "status": "done"}, {"text": "Leap", "status": "pending"}]}'


def entry(step: int, call: int, kind: EntryKind, words: str, **more: object) -> Entry:
    return Entry(step, call, kind, words, datetime.now(UTC), **more)  # type: ignore[arg-type]


def observed(step: int, call: int, tool: str, words: str, **more: object) -> Entry:
    more = {"status": CallStatus.SUCCEEDED, "duration_ms": 7, **more}
    return entry(step, call, EntryKind.OBSERVATION, words, tool=tool, tool_call_id=f"c{call}", **more)


async def write_steps(database: Database, tenant: str, run_id: str) -> None:
    asked = (
        RequestedCall("c1", "todo_write", PLAN),
        RequestedCall("c2", "read_file", '{"path": '),
        RequestedCall("c3", "sleep", '{"seconds": 1}'),
    )
    used = [
        ModelCall("openai/b", TokenCounts(10), 3, failed="model_unavailable", estimated="cut_off"),
        ModelCall("openai/a", TokenCounts(100, 20, cached=30, cache_write=40, reasoning=6), 5),
    ]
    entries = [
        entry(1, -1, EntryKind.WORD, "Hurry.", author_id="otto"),
        entry(1, 0, EntryKind.REPLY, "I think.", tool_calls=asked, duration_ms=5),
        observed(1, 1, "todo_write", "noted"),
        observed(1, 2, "read_file", "cut", whole_size=9_000, status=CallStatus.FAILED),
        entry(2, 0, EntryKind.REPLY, "Done.", duration_ms=4),
    ]
    async with database.tenant(tenant) as records:
        for one in entries:
            await records.transcripts.append(run_id, one)
        await records.results.add(run_id, 1, 2, "the whole \u00fc")
        for attempt, call in enumerate(used, start=1):
            now = datetime.now(UTC)
            await records.usage.add(UsageEntry(run_id, 1, 0, attempt, "olga", "assistant", now, calls=(call,)))


async def test_steps_show_thought_calls_words_and_tokens(
    operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    accepted = await execute(operator)
    run = accepted["links"]["self"]
    assert (await operator.get(f"{run}/steps")).json() == {"items": [], "next_cursor": None}
    assert (await operator.get(f"{run}/todo")).json() == {"items": []}
    await write_steps(database, tenant, accepted["run_id"])

    first, second = (await operator.get(f"{run}/steps")).json()["items"]

    assert (first["step"], first["thought"], first["duration_ms"]) == (1, "I think.", 12)
    assert [(word["author_id"], word["text"]) for word in first["words"]] == [("otto", "Hurry.")]
    assert first["tokens"] == {
        "input": 110,
        "output": 20,
        "cached": 30,
        "cache_write": 40,
        "reasoning": 6,
        "wasted": 10,
        "estimated": 10,
        "total": 130,
    }
    assert first["models"] == ["openai/a", "openai/b"]
    plan = [{"text": "Look", "status": "done"}, {"text": "Leap", "status": "pending"}]
    assert first["todo"] == plan
    noted, broken, running = first["tool_calls"]
    assert (noted["tool"], noted["arguments"]["items"], noted["status"]) == ("todo_write", plan, "succeeded")
    assert (noted["observation"], noted["duration_ms"], noted["result"]) == ("noted", 7, None)
    assert (broken["arguments"], broken["status"]) == ('{"path": ', "failed")
    assert broken["result"] == f"{run}/results/1/2"
    assert (running["status"], running["observation"], running["duration_ms"]) == (None, None, None)
    assert (second["thought"], second["tool_calls"], second["todo"], second["tokens"]["total"]) == (
        "Done.",
        [],
        None,
        0,
    )

    assert (await operator.get(f"{run}/todo")).json() == {"items": plan}
    whole = await operator.get(broken["result"])
    assert (whole.text, whole.headers["content-type"]) == ("the whole \u00fc", "text/plain; charset=utf-8")
    assert (await operator.get(f"{run}/results/1/1")).text == "noted"


async def test_steps_come_in_pages(operator: httpx.AsyncClient, database: Database, tenant: str) -> None:
    accepted = await execute(operator)
    path = f"{accepted['links']['self']}/steps"
    await write_steps(database, tenant, accepted["run_id"])
    first = (await operator.get(path, params={"limit": 1})).json()
    second = (await operator.get(path, params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert [step["step"] for page in (first, second) for step in page["items"]] == [1, 2]
    assert second["next_cursor"] is None


async def test_runs_come_in_pages_newest_first(operator: httpx.AsyncClient) -> None:
    made = [(await execute(operator, f"Number {number}."))["run_id"] for number in range(5)]
    found: list[str] = []
    cursor = None
    while True:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await operator.get("/api/v1/runs", params=query)).json()
        found += [run["run_id"] for run in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == made[::-1]


async def test_runs_are_filtered(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    first, second = await execute(operator), await execute(operator, agent_id="careful-assistant")
    otto = client_for(tenant, "otto", ["operator"])
    third = await execute(otto)
    await finish(database, tenant, first["run_id"])

    async def ids(**query: str) -> list[str]:
        return [run["run_id"] for run in (await otto.get("/api/v1/runs", params=query)).json()["items"]]

    assert await ids(status="failed") == [first["run_id"]]
    assert await ids(agent_id="careful-assistant") == [second["run_id"]]
    assert await ids(session_id=second["session_id"]) == [second["run_id"]]
    assert await ids(mine="true") == [third["run_id"]]
    assert len(await ids()) == 3


async def test_a_failed_run_says_why_and_takes_nothing_more(
    operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    accepted = await execute(operator)
    await finish(database, tenant, accepted["run_id"])
    run = (await operator.get(accepted["links"]["self"])).json()
    assert (run["status"], run["error"]) == ("failed", {"code": "too_bad", "message": "It failed."})
    for name in ("cancel", "pause", "resume"):
        assert_problem(await operator.post(accepted["links"][name]), 409, "run_finished")
    answer = await operator.post(accepted["links"]["messages"], json={"text": "Hello?"})
    assert_problem(answer, 409, "run_finished")


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": "x" * 20_001}, {"text": 1}, {"text": "x", "more": 1}])
async def test_a_message_that_does_not_fit(operator: httpx.AsyncClient, body: object) -> None:
    links = (await execute(operator))["links"]
    assert_problem(await operator.post(links["messages"], json=body), 422, "request_invalid")


async def test_a_message_with_a_key_is_said_once(operator: httpx.AsyncClient) -> None:
    links = (await execute(operator))["links"]
    headers = {"idempotency-key": "say-once"}
    first, second = [await operator.post(links["messages"], json={"text": "Hi."}, headers=headers) for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"
    other = await operator.post(links["messages"], json={"text": "Ho."}, headers=headers)
    assert_problem(other, 422, "idempotency_key_reused")


async def test_only_its_owner_speaks_to_a_run_though_others_may_steer_it(
    client_for: ClientFor, operator: httpx.AsyncClient, gateway: Gateway, tenant: str
) -> None:
    links = (await execute(operator))["links"]
    for user, role in (("otto", "operator"), ("ada", "admin")):
        other = client_for(tenant, user, [role])
        assert_problem(await other.post(links["messages"], json={"text": "Pay me."}), 403, "not_your_run")
        assert (await other.post(links["pause"])).status_code == 202
    described = gateway.app.openapi()["paths"]["/api/v1/runs/{run_id}/messages"]["post"]["description"]
    assert "not_your_run" in described


async def test_a_run_that_no_worker_has_begun_can_be_steered(operator: httpx.AsyncClient) -> None:
    links = (await execute(operator))["links"]
    for name in ("pause", "resume", "cancel"):
        answer = await operator.post(links[name])
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")


async def test_a_run_whose_workflow_was_never_started_is_started_to_be_steered(
    working: httpx.AsyncClient, missions: Missions, scripted: ScriptedLLM
) -> None:
    scripted.script([hang()])
    run_id = await missions.accepted()
    answer = await working.post(f"/api/v1/runs/{run_id}/cancel")
    assert answer.status_code == 202
    assert await ended(working, run_id) == "cancelled"


async def test_a_message_reaches_a_run_that_asks(working: httpx.AsyncClient, scripted: ScriptedLLM) -> None:
    scripted.script([tool_calls([("ask_user", {"question": "Which?"})]), text("Thanks.")])
    accepted = await execute(working)
    links, run_id = accepted["links"], accepted["run_id"]
    async for kind, data in follow(working, links["events"]):
        if kind == "run.waiting":
            assert "answer" in data["waiting_for"]
            said = await working.post(links["messages"], json={"text": "The blue one."})
            assert said.status_code == 202
    (first, _) = (await working.get(links["steps"])).json()["items"]
    assert "The blue one." in first["tool_calls"][0]["observation"]
    assert await ended(working, run_id) == "completed"


async def test_cancel_ends_a_run_that_waits(working: httpx.AsyncClient, scripted: ScriptedLLM) -> None:
    scripted.script([tool_calls([("ask_user", {"question": "Which?"})])])
    accepted = await execute(working)
    async for kind, _ in follow(working, accepted["links"]["events"]):
        if kind == "run.waiting":
            assert (await working.post(accepted["links"]["cancel"])).status_code == 202
    run = (await working.get(accepted["links"]["self"])).json()
    assert (run["status"], run["answer"], run["error"]) == ("cancelled", None, None)


async def ended(client: httpx.AsyncClient, run_id: str) -> str:
    found = [data async for kind, data in follow(client, f"/api/v1/runs/{run_id}/events") if kind == "run.finished"]
    return str(found[0]["status"])
