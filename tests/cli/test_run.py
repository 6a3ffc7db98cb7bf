import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.documents import Document
from cli.progress import Progress
from cli.views import wants
from tests.cli.conftest import Done, Person
from tests.cli.stub_gateway import (
    ANSWER,
    OPENING,
    REQUEST,
    RUN,
    SIMPLE,
    TWO_STEPS,
    Break,
    Entry,
    Event,
    StubGateway,
    Wait,
    Words,
    finished,
    problem,
    step,
    tool,
)

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
QUESTION = {"question": "Which colour?"}
ASKING: list[Entry] = [
    *OPENING,
    step(1, "I ask.", {**tool(1, "ask_user", QUESTION, None), "question_id": "1.1"}),
    Event("step.replied", {"step": 1, "tools": ["ask_user"], "text": "I ask."}),
    Event("run.waiting", {"waiting_for": "an answer from a person", "questions": ["1.1"]}),
    Event("question.asked", {"question_id": "1.1", "step": 1, "call": 1, "text": "Which colour?"}),
    Wait("/messages"),
    step(1, "I ask.", tool(1, "ask_user", QUESTION, observation="blue")),
    Event("tool.finished", {"step": 1, "call": 1, "tool": "ask_user", "status": "succeeded"}),
    Event("run.running"),
    *finished(answer="Blue it is."),
]


def test_a_run_in_a_pipe_is_told_whole_and_without_control_sequences(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway(SIMPLE)
    done = taskforce("run", "What is 17% of 2,340?")
    assert done.code == 0, done.err
    for part in (RUN, "What is 17% of 2,340?", "I plan and count.", "✓ todo_write", 'expression="0.17*2340"', "24 ms"):
        assert part in done.out
    assert done.out.count(ANSWER) == 1
    assert "completed · 2 steps · 2 tool calls · 240 tokens (200 in, 40 out) · 2.5 s" in done.out
    assert f"/api/v1/runs/{RUN}" in done.out
    assert "http://127.0.0.1:8233/x" in done.out
    assert "\x1b" not in done.out + done.err
    assert stub.tokens == {"Bearer a-token"}


def test_json_gives_a_line_an_event_and_at_last_the_run(gateway: Serve, taskforce: Cli) -> None:
    gateway(SIMPLE)
    done = taskforce("run", "x", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["type"] for line in lines[:-1]][:4] == ["run.queued", "run.started", "token", "token"]
    assert lines[-2]["type"] == "run.finished"
    assert (lines[-1]["run_id"], lines[-1]["answer"]) == (RUN, ANSWER)


TAGS = ["--tag", "team=a=b", "--tag", "project=x"]


def test_everything_that_was_asked_for_is_sent(gateway: Serve, taskforce: Cli, tmp_path: Path) -> None:
    stub = gateway(SIMPLE)
    file = tmp_path / "more.json"
    file.write_text('{"customer": {"id": 7}}')
    options = ["--agent", "a1", "--model", "m1,m2", "--session", "acme-corp:session-1", "--max-steps", "3"]
    done = taskforce("run", "-", *options, "--context", "k=v=w", "--context", f"@{file}", *TAGS, given="from a file")
    assert done.code == 0, done.err
    assert stub.posted("/agents/execute") == [
        {
            "mission": "from a file",
            "context": {"k": "v=w", "customer": {"id": 7}},
            "agent_id": "a1",
            "model": "m1,m2",
            "session_id": "acme-corp:session-1",
            "max_steps": 3,
            "tags": {"team": "a=b", "project": "x"},
        }
    ]


def test_detached_it_prints_the_id_only(gateway: Serve, taskforce: Cli) -> None:
    gateway([])
    assert taskforce("run", "x", "--detach").out == f"{RUN}\n"
    assert json.loads(taskforce("run", "x", "--detach", "--json").out)["run_id"] == RUN


@pytest.mark.parametrize("clean", [True, False])
def test_a_broken_connection_is_resumed_where_it_broke(gateway: Serve, taskforce: Cli, *, clean: bool) -> None:
    stub = gateway([*SIMPLE[:7], Break(clean=clean), *SIMPLE[7:]])
    done = taskforce("run", "x", "--json")
    assert done.code == 0, done.err
    numbers = [line["seq"] for line in map(json.loads, done.out.splitlines()) if "seq" in line]
    assert numbers == list(range(1, 8))
    assert stub.resumed_after == [None, "4"]


def test_words_of_a_failed_attempt_are_replaced(gateway: Serve, taskforce: Cli) -> None:
    failure = {"step": 1, "attempt": 1, "code": "rate_limited", "message": "too fast"}
    gateway(
        [*OPENING, Words(1, "WRONG"), Event("model.failed", failure), Words(1, "Right.", 2), *finished("failed")],
    )
    done = taskforce("run", "x")
    assert "Right." in done.out
    assert "WRONG" not in done.out
    assert "the model failed (rate_limited): too fast" in done.out


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 3), ("incomplete", 4), ("cancelled", 5)])
def test_the_exit_code_says_how_the_run_ended(gateway: Serve, taskforce: Cli, status: str, code: int) -> None:
    gateway([*OPENING, *finished(status, error={"code": "why_not", "message": "Because."})])
    done = taskforce("run", "x")
    assert done.code == code
    assert "why_not: Because." in done.out


def test_nothing_that_a_model_or_a_tool_says_reaches_the_terminal_as_a_command(gateway: Serve, taskforce: Cli) -> None:
    evil = "a\x1b]0;title\x07b\x1b[2Jc\x9b31md\u202ee\rf [bold]g[/bold]"
    gateway(
        [
            *OPENING,
            step(1, evil, tool(1, evil, {"k\x1b[1m": evil}, "failed", evil)),
            Event("step.replied", {"step": 1, "tools": [evil], "text": evil}),
            Event("approval.closed", {"request_id": "r", "status": "rejected", "reason": evil}),
            *finished("failed", answer=evil, error={"code": evil, "message": evil}, waiting_for=None),
        ]
    )
    done = taskforce("run", evil.replace("\x00", ""))
    assert done.out.count("abcdef [bold]g[/bold]") >= 4
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & set(done.out)


def test_an_approval_shows_the_exact_commands_that_decide_it(gateway: Serve, taskforce: Cli) -> None:
    requested = {"request_id": REQUEST, "step": 1, "call": 1, "tool": "http_post"}
    gateway([*TWO_STEPS[:2], Event("approval.requested", requested), *finished("cancelled")])
    done = taskforce("run", "x")
    assert f"http_post needs approval, request {REQUEST}\n  taskforce approve {REQUEST}\n" in done.out
    assert f'taskforce reject {REQUEST} --comment "why"' in done.out


def test_a_question_is_answered_by_another_command_when_nobody_is_at_the_terminal(
    gateway: Serve, taskforce: Cli, environment: dict[str, str]
) -> None:
    stub = gateway(ASKING)
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "run", "x"], env=environment, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        for line in running.stdout:
            if line.strip() == f'taskforce say {RUN} --question 1.1 "your answer"':
                break
        assert taskforce("say", RUN, "--question", "1.1", "blue").code == 0
        rest = running.stdout.read()
    assert running.returncode == 0
    assert "Blue it is." in rest
    assert stub.posted("/messages") == [{"text": "blue", "question_id": "1.1"}]


def test_at_a_terminal_the_question_is_asked_there(gateway: Serve, person: Callable[..., Person]) -> None:
    stub = gateway(ASKING)
    alice = person("run", "x")
    alice.see("Which colour?")
    alice.see("answer (Ctrl-D: later):")
    alice.type("blue\n")
    alice.see("Blue it is.")
    assert alice.leave() == 0
    assert stub.posted("/messages") == [{"text": "blue", "question_id": "1.1"}]


def test_of_two_questions_each_shows_the_command_that_answers_it() -> None:
    asks = [{**tool(call, "ask_user", QUESTION, None), "question_id": f"1.{call}"} for call in (1, 2)]
    progress = Progress(Document({"run_id": RUN, "status": "waiting"}))
    progress.merge([Document(step(1, "I ask.", *asks).document)])
    commands = [line.plain.strip() for line in wants(progress)][1::2]
    assert commands == [f'taskforce say {RUN} --question 1.{call} "your answer"' for call in (1, 2)]


def test_a_model_that_is_asked_again_is_told_with_the_time(gateway: Serve, taskforce: Cli) -> None:
    again = {"attempt": 3, "next_at": "2026-01-15T12:00:07+00:00", "code": "model_rate_limited", "message": "Slow."}
    gateway([*OPENING, Event("model.retrying", again), *finished("cancelled")])
    assert "the model is asked again at 12:00:07 UTC, attempt 3" in taskforce("run", "x").out


def test_a_question_can_be_left_for_later(gateway: Serve, taskforce: Cli, person: Callable[..., Person]) -> None:
    gateway(ASKING)
    alice = person("run", "x")
    alice.see("answer (Ctrl-D: later):")
    alice.type("\x04")
    alice.see("later: taskforce say")
    taskforce("say", RUN, "green")
    assert alice.leave() == 0


def test_ctrl_c_asks_and_leaves_the_run_going(gateway: Serve, person: Callable[..., Person]) -> None:
    stub = gateway([*OPENING, Wait("/never")])
    alice = person("run", "x")
    alice.see("running")
    alice.type("\x03")
    alice.see("[d]etach")
    alice.type("f\n")
    alice.see("Ctrl-C leaves")
    alice.type("\x03")
    alice.see("ollow on? [d]")
    alice.type("d\n")
    alice.see(f"taskforce show {RUN} --follow")
    assert alice.leave() == 130
    assert not stub.posted("/cancel")


def test_a_second_ctrl_c_just_leaves(gateway: Serve, person: Callable[..., Person]) -> None:
    gateway([*OPENING, Wait("/never")])
    alice = person("run", "x")
    alice.see("running")
    alice.type("\x03")
    alice.see("[d]etach")
    alice.type("\x03")
    assert alice.leave() == 130


def test_ctrl_c_can_cancel_the_run_instead(gateway: Serve, environment: dict[str, str]) -> None:
    stub = gateway([*OPENING, Event("run.running"), Wait("/cancel"), *finished("cancelled")])
    command = [sys.executable, "-m", "cli", "run", "x", "--json", "--cancel-on-interrupt"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert json.loads(running.stdout.readline())["type"] == "run.queued"
        running.send_signal(signal.SIGINT)
        lines = running.stdout.read().splitlines()
        assert running.stderr
        assert "cancelling" in running.stderr.read()
    assert running.returncode == 5
    assert json.loads(lines[-1])["status"] == "cancelled"
    assert len(stub.posted("/cancel")) == 1


def test_no_color_at_a_terminal_means_plain_lines(gateway: Serve, environment: dict[str, str]) -> None:
    gateway(SIMPLE)
    environment["NO_COLOR"] = "1"
    alice = Person(["run", "x"], {**environment, "TERM": "xterm-256color"})
    assert alice.leave() == 0
    assert ANSWER in alice.seen
    assert "\x1b" not in alice.seen


def test_a_refused_mission_is_one_clear_line(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    errors = [{"field": "mission", "message": "too long"}]
    stub.answers["/agents/execute"] = problem(422, "validation_failed", "The body is wrong.", errors=errors)
    done = taskforce("run", "x")
    assert (done.code, done.out) == (2, "")
    assert done.err == "✗ The body is wrong. [mission: too long] (validation_failed, request req-7)\n"


@pytest.mark.parametrize(
    "given",
    [
        ["--context", "novalue"],
        ["--context", "@missing.json"],
        ["--max-steps", "0"],
        ["--tag", "team"],
        ["--tag", "=x"],
    ],
)
def test_wrong_usage_asks_the_gateway_nothing(gateway: Serve, taskforce: Cli, given: list[str]) -> None:
    stub = gateway([])
    assert taskforce("run", "x", *given).code == 2
    assert not stub.asked


def test_a_run_that_is_lost_sight_of_goes_on(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers[f"/runs/{RUN}/events"] = problem(403, "forbidden", "No longer.")
    done = taskforce("run", "x")
    assert done.code == 6
    assert f"The run goes on: taskforce show {RUN} --follow" in done.err
