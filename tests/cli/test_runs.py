import json
from collections.abc import Callable

import pytest

from cli.documents import Document
from cli.render import summary
from tests.cli.conftest import Done
from tests.cli.stub_gateway import ANSWER, OTHER_RUN, RUN, SIMPLE, Entry, StubGateway, problem, step, tool

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]


def test_runs_are_listed_with_whole_ids(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.run["mission"] = "Line one\nline two"
    done = taskforce("runs", "--status", "queued", "--mine", "--limit", "5")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split() == ["RUN", "STATUS", "AGE", "AGENT", "STEPS", "TOKENS", "MISSION"]
    assert RUN in done.out
    assert OTHER_RUN in done.out
    assert "Line one line two" in done.out
    assert stub.asked == [("GET", "/runs", {"status": "queued", "mine": "true", "limit": "5"})]


def test_a_run_is_shown_with_its_steps(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.run |= {"status": "completed", "answer": ANSWER}
    planned = step(1, "First.", tool(1, "calculator", {"expression": "1+1"}, observation="2"), todo=[("done", "Count")])
    stub.steps[1] = planned.document
    done = taskforce("show", RUN, "--steps")
    for part in ("First.", 'calculator expression="1+1"', "2", "✓ Count", ANSWER, "completed"):
        assert part in done.out
    shown = json.loads(taskforce("show", RUN, "--steps", "--json").out)
    assert (shown["run_id"], shown["step_list"]) == (RUN, [planned.document])


def test_a_run_is_followed_again_and_exits_as_it_ended(gateway: Serve, taskforce: Cli) -> None:
    gateway([*SIMPLE])
    done = taskforce("show", RUN, "--follow")
    assert done.code == 0
    assert ANSWER in done.out


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_commands_to_a_run(gateway: Serve, taskforce: Cli, verb: str) -> None:
    stub = gateway([])
    assert taskforce(verb, RUN).out == f"{verb} accepted; the run is queued\n"
    assert json.loads(taskforce(verb, RUN, "--json").out)["run_id"] == RUN
    assert len(stub.posted(f"/runs/{RUN}/{verb}")) == 2


def test_a_unique_beginning_of_an_id_is_enough(gateway: Serve, taskforce: Cli) -> None:
    gateway([])
    assert taskforce("pause", RUN[:-4]).code == 2, "two begin so"
    assert taskforce("pause", "0193ffff").code == 7
    assert taskforce("pause", f"acme-corp:run:{RUN}").code == 0


@pytest.mark.parametrize("text", ["..", "0193", "../../health", "019300aa-0000-7000-8000-00000000000/", "x" * 36])
def test_what_is_no_id_never_becomes_part_of_a_url(gateway: Serve, taskforce: Cli, text: str) -> None:
    stub = gateway([])
    assert taskforce("show", text).code == 2
    assert not stub.asked


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, 6, "taskforce token"),
        (403, 6, "role"),
        (404, 7, "taskforce runs"),
        (409, 8, "(why, request req-7)"),
        (422, 2, "(why, request req-7)"),
        (429, 9, "again"),
        (500, 1, "(why, request req-7)"),
        (503, 9, "taskforce doctor"),
    ],
)
def test_each_refusal_has_its_exit_code_and_says_what_to_do(
    gateway: Serve, taskforce: Cli, status: int, code: int, words: str
) -> None:
    stub = gateway([])
    stub.answers[f"/runs/{RUN}"] = problem(status, "why", "It is \x1b[31mso.")
    done = taskforce("show", RUN)
    assert (done.code, done.out) == (code, "")
    assert "✗ It is so. (why, request req-7)" in done.err
    assert words in done.err
    error = json.loads(taskforce("show", RUN, "--json").out)["error"]
    assert (error["code"], error["status"], error["exit_code"]) == ("why", status, code)


def test_a_gateway_that_is_not_there(taskforce: Cli) -> None:
    done = taskforce("runs", "--url", "http://127.0.0.1:9", "--token", "t")
    assert done.code == 9
    assert "`taskforce up`" in done.err


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://", "http://x:port", "http://a b"])
def test_a_url_that_cannot_be_used(taskforce: Cli, url: str) -> None:
    assert taskforce("runs", "--url", url, "--token", "t").code == 2


def test_an_answer_that_is_not_the_gateways(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    from starlette.responses import HTMLResponse

    stub.answers["/runs"] = HTMLResponse("<h1>Welcome</h1>")
    done = taskforce("runs")
    assert done.code == 1
    assert "answer_not_understood" in done.err


def test_a_halted_run_says_who_pulled_the_switch_and_not_when_it_is_tried() -> None:
    retry = {"attempt": 1, "next_at": "2026-01-15T12:00:07+00:00", "code": "halted", "message": "ada pulled it."}
    run = {"run_id": RUN, "status": "waiting", "waiting_for": "a kill switch to be let go", "retry": retry}
    assert summary(Document(run)).plain.startswith("waiting for a kill switch to be let go (ada pulled it.) · ")


def test_the_tokens_of_a_run_are_told_in_their_parts_where_there_are_some() -> None:
    tokens = {
        "input": 1_000,
        "output": 200,
        "cached": 600,
        "reasoning": 50,
        "wasted": 0,
        "estimated": 7,
        "total": 1_200,
    }
    line = summary(Document({"run_id": RUN, "status": "completed", "tokens": tokens})).plain
    assert "1,200 tokens (1,000 in, 200 out, 600 cached, 50 reasoning, 7 estimated)" in line
