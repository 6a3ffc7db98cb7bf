"""What a run asks people, what it waits for, and what it answers, over HTTP."""

from datetime import UTC, datetime

import httpx

from taskforce.application.runs.lifecycle import close
from taskforce.core.domain.runs.reply import TEXT_KEPT, capped_text
from taskforce.core.domain.runs.run import ANSWER_EXCERPT, Ending, RunStatus
from taskforce.core.domain.runs.transcript import Entry, EntryKind
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import assert_problem, execute
from tests.api.sse import follow
from tests.fixtures.scripted_llm import ScriptedLLM, status, text, tool_calls


async def test_a_message_names_the_question_that_it_answers(working: httpx.AsyncClient, scripted: ScriptedLLM) -> None:
    asks = [("ask_user", {"question": "Which colour?"}), ("ask_user", {"question": "Which size?"})]
    scripted.script([tool_calls(asks), text("Thanks.")])
    links = (await execute(working))["links"]
    asked: list[dict[str, object]] = []
    async for kind, data in follow(working, links["events"]):
        asked += [data] if kind == "question.asked" else []
        if kind == "question.asked" and len(asked) == 2:
            await answer_both(working, links)
    assert [(one["question_id"], one["text"]) for one in asked] == [("1.1", "Which colour?"), ("1.2", "Which size?")]
    (first, _) = (await working.get(links["steps"])).json()["items"]
    assert [call["observation"] for call in first["tool_calls"]] == ["Blue.", "Large."]
    assert [call["question_id"] for call in first["tool_calls"]] == ["1.1", "1.2"]
    run = (await working.get(links["self"])).json()
    assert (run["status"], run["questions"]) == ("completed", [])


async def answer_both(working: httpx.AsyncClient, links: dict[str, str]) -> None:
    run = (await working.get(links["self"])).json()
    questions = [{"question_id": "1.1", "question": "Which colour?"}, {"question_id": "1.2", "question": "Which size?"}]
    assert (run["status"], run["questions"]) == ("waiting", questions)
    large = await working.post(links["messages"], json={"text": "Large.", "question_id": "1.2"})
    assert (large.status_code, large.json()["question_id"]) == (202, "1.2")
    again = await working.post(links["messages"], json={"text": "Small.", "question_id": "1.2"})
    assert_problem(again, 409, "question_answered")
    for unknown in ("7.1", "1.1.1", "no such"):
        answer = await working.post(links["messages"], json={"text": "Green.", "question_id": unknown})
        assert_problem(answer, 404, "question_not_found")
    keyed = {"idempotency-key": "blue"}
    blue, same = [await working.post(links["messages"], json={"text": "Blue."}, headers=keyed) for _ in range(2)]
    assert blue.json() == same.json()
    assert blue.json()["question_id"] == "1.1"


async def test_what_is_said_while_no_question_is_open_answers_none(operator: httpx.AsyncClient) -> None:
    links = (await execute(operator))["links"]
    said = await operator.post(links["messages"], json={"text": "Yes, and please hurry."})
    assert (said.status_code, said.json()["question_id"]) == (202, None)


async def test_a_run_whose_model_fails_says_when_it_is_asked_again(
    working: httpx.AsyncClient, scripted: ScriptedLLM
) -> None:
    scripted.reply = lambda _: status(429, {"retry-after": "300"})
    links = (await execute(working))["links"]
    async for kind, data in follow(working, links["events"]):
        if kind == "model.retrying":
            run = (await working.get(links["self"])).json()
            assert (run["status"], run["waiting_for"]) == ("running", "the model")
            retry = run["retry"]
            assert (retry["attempt"], retry["code"], retry["message"]) == (2, "model_rate_limited", data["message"])
            assert datetime.fromisoformat(retry["next_at"]) == datetime.fromisoformat(data["next_at"])
            assert (await working.post(links["cancel"])).status_code == 202
    assert (await working.get(links["self"])).json()["retry"] is None


async def ended_with(database: Database, tenant: str, run_id: str, answer: str) -> None:
    """Ends a run with an answer, as its model's last turn does."""
    kept, now = capped_text(answer, 1), datetime.now(UTC)
    async with database.tenant(tenant) as records:
        whole = None if kept.whole is None else len(kept.whole)
        await records.transcripts.append(run_id, Entry(1, 0, EntryKind.REPLY, kept.text, now, whole_size=whole))
        if kept.whole is not None:
            await records.results.add(run_id, 1, 0, kept.whole)
        spec = await records.runs.spec(run_id)
        assert spec is not None
        await close(records, spec, Ending(RunStatus.COMPLETED), now)


async def test_a_list_shows_the_beginning_of_an_answer(
    operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    exact, longer = [await execute(operator) for _ in range(2)]
    await ended_with(database, tenant, exact["run_id"], "a" * ANSWER_EXCERPT)
    await ended_with(database, tenant, longer["run_id"], "b" * (ANSWER_EXCERPT + 1))
    second, first = (await operator.get("/api/v1/runs")).json()["items"]
    assert (first["answer"], first["answer_truncated"]) == ("a" * ANSWER_EXCERPT, False)
    assert (second["answer"], second["answer_truncated"]) == ("b" * ANSWER_EXCERPT, True)
    run = (await operator.get(longer["links"]["self"])).json()
    whole = (run["answer"], run["answer_truncated"], run["answer_result"])
    assert whole == ("b" * (ANSWER_EXCERPT + 1), False, None)


async def test_an_answer_without_end_stands_whole_under_its_link(
    operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    accepted = await execute(operator)
    answer = "0123456789" * (TEXT_KEPT // 10) + "the end"
    await ended_with(database, tenant, accepted["run_id"], answer)
    run = (await operator.get(accepted["links"]["self"])).json()
    assert (run["answer"][:TEXT_KEPT], run["answer_truncated"]) == (answer[:TEXT_KEPT], True)
    assert (await operator.get(run["answer_result"])).text == answer
    (step,) = (await operator.get(accepted["links"]["steps"])).json()["items"]
    assert step["thought_result"] == run["answer_result"]
    assert len((await operator.get("/api/v1/runs")).content) < 10_000
