"""A gateway that follows a script: the contract's HTTP on a real socket, without anything behind it.

`python -m tests.cli.stub_gateway PORT` serves the sample at a human pace, to look at the live view.
"""

import asyncio
import json
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

RUN = "019300aa-0000-7000-8000-000000000001"
OTHER_RUN = "019300aa-0000-7000-8000-000000000002"
REQUEST = "019300bb-0000-5000-8000-000000000003"
AT = datetime.now(UTC).isoformat()


@dataclass
class Event:
    type: str
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Words:
    """Live words: sent once, never again."""

    step: int
    text: str
    attempt: int = 1


@dataclass
class Step:
    """From here on the list of steps shows this."""

    document: Mapping[str, object]


@dataclass
class Now:
    """From here on the run looks so."""

    run: Mapping[str, object]


@dataclass
class Break:
    """The connection breaks here, once; `clean` ends the response properly, though too early."""

    clean: bool = False
    done: bool = False


@dataclass
class Wait:
    """Goes on when somebody has sent a request whose path ends so."""

    path: str


Entry = Event | Words | Step | Now | Break | Wait


def problem(status: int, code: str, detail: str, **more: object) -> Response:
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, **more}
    return JSONResponse(
        {**body, "request_id": "req-7"},
        status,
        headers={"X-Request-ID": "req-7"},
        media_type="application/problem+json",
    )


def tool(
    call: int, name: str, arguments: object, status: str | None = "succeeded", observation: str = "ok"
) -> dict[str, object]:
    took = None if status is None else 12 * call
    return {
        "call": call,
        "tool": name,
        "arguments": arguments,
        "status": status,
        "observation": observation if status else None,
        "duration_ms": took,
        "result": None,
    }


def step(number: int, thought: str, *calls: object, todo: list[tuple[str, str]] | None = None) -> Step:
    plan = None if todo is None else [{"text": text, "status": status} for status, text in todo]
    tokens = {"input": 100, "output": 20, "cached": 0, "wasted": 0, "total": 120}
    document = {"step": number, "thought": thought, "tool_calls": list(calls), "words": [], "todo": plan, "at": AT}
    return Step({**document, "tokens": tokens, "duration_ms": 300, "models": ["offline/demo"]})


class StubGateway:
    """Serves one run by a script, and remembers what it was asked.

    Args:
        script: What happens, in order.
        pace_seconds: Pause before each entry.
    """

    def __init__(self, script: list[Entry], pace_seconds: float = 0) -> None:
        self.script = script
        self.pace = pace_seconds
        self.asked: list[tuple[str, str, Mapping[str, Any]]] = []
        self.tokens: set[str | None] = set()
        self.resumed_after: list[str | None] = []
        self.answers: dict[str, Response] = {}
        self.steps: dict[int, Mapping[str, object]] = {}
        self.run: dict[str, object] = {
            "run_id": RUN,
            "session_id": "acme-corp:session-019300aa-0000-7000-8000-0000000000ff",
            "status": "queued",
            "agent_id": "assistant",
            "profile": "dev",
            "user_id": "alice",
            "mission": "",
            "context": {},
            "answer": None,
            "stop_reason": None,
            "error": None,
            "waiting_for": None,
            "steps": 2,
            "tool_calls": 2,
            "tokens": {"input": 200, "output": 40, "cached": 0, "wasted": 0, "total": 240},
            "models": ["offline/demo"],
            "created_at": AT,
            "started_at": AT,
            "finished_at": None,
            "links": {"self": f"/api/v1/runs/{RUN}", "temporal_ui": "http://127.0.0.1:8233/x"},
        }
        self.pending: list[dict[str, object]] = []
        self.pages = 1
        """How many pages the list of what is pending has, each with the same."""
        self.documents: dict[str, Mapping[str, object]] = {}
        """What is answered at further paths."""
        self.reports: list[dict[str, object]] = []
        """What a tenant's deletion says, each time that somebody asks; the last one stays."""

    @contextmanager
    def serving(self, port: int = 0) -> Iterator[str]:
        """Serves on loopback and gives the base URL."""
        with socket.create_server(("127.0.0.1", port)) as listener:
            config = uvicorn.Config(
                self._app(), log_level="critical", ws="none", lifespan="off", timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join()

    def posted(self, path: str) -> list[Mapping[str, Any]]:
        return [body for method, asked, body in self.asked if method == "POST" and asked.endswith(path)]

    def _app(self) -> Starlette:
        return Starlette(routes=[Route("/api/v1/{path:path}", self._answer, methods=["GET", "POST", "PUT", "DELETE"])])

    async def _answer(self, request: Request) -> Response:
        path = "/" + request.path_params["path"]
        body = await request.body()
        self.asked.append((request.method, path, json.loads(body) if body else dict(request.query_params)))
        self.tokens.add(request.headers.get("authorization"))
        if path in self.answers:
            return self.answers[path]
        if path == "/admin/requests/pending":
            page = int(request.query_params.get("cursor", "1"))
            following = str(page + 1) if page < self.pages else None
            return JSONResponse({"items": self.pending, "next_cursor": following})
        if path.endswith("/events"):
            self.resumed_after.append(request.headers.get("last-event-id"))
            return StreamingResponse(self._stream(request.headers.get("last-event-id")), media_type="text/event-stream")
        return self._document(request.method, path, json.loads(body) if body else {})

    def _document(self, method: str, path: str, body: Mapping[str, object]) -> Response:
        if path.startswith(f"/admin/requests/{REQUEST}/"):
            verdict = {"approver_id": "alice", "verdict": path.rpartition("/")[2], **body}
            if not self.pending:
                return problem(404, "request_not_found", "There is no such request.")
            return JSONResponse({**self.pending[0], "status": "approved", "decisions": [verdict]})
        if path.startswith("/admin/tenants/") and self.reports:
            told = self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]
            return JSONResponse(told, 202 if method == "DELETE" else 200)
        if path == "/agents/execute":
            self.run["mission"] = body["mission"]
            return JSONResponse({name: self.run[name] for name in ("run_id", "session_id", "status", "links")}, 202)
        known: dict[str, object] = {
            "/runs": {"items": [self.run, {**self.run, "run_id": OTHER_RUN}], "next_cursor": None},
            f"/runs/{RUN}/steps": {"items": list(self.steps.values()), "next_cursor": None},
            f"/runs/{RUN}/messages": {"word_id": RUN},
            **self.documents,
            **({f"/admin/requests/{REQUEST}": self.pending[0]} if self.pending else {}),
            **{f"/runs/{RUN}{verb}": self.run for verb in ("", "/cancel", "/pause", "/resume")},
        }
        if path not in known:
            return problem(404, "not_found", "There is no such thing.")
        return JSONResponse(known[path], 200 if method == "GET" else 202)

    async def _stream(self, last: str | None) -> AsyncIterator[bytes]:
        seq = 0
        seen = int(last or 0)
        yield b": hello\n\n"
        for entry in self.script:
            if isinstance(entry, Event):
                seq += 1
            if seen and seq <= seen and not isinstance(entry, Step | Now):
                continue
            if isinstance(entry, Break):
                if entry.done:
                    continue
                entry.done = True
                if entry.clean:
                    return
                raise ConnectionError("as the script says")
            async for chunk in self._play(entry, seq):
                yield chunk

    async def _play(self, entry: Event | Words | Step | Now | Wait, seq: int) -> AsyncIterator[bytes]:
        await asyncio.sleep(self.pace)
        match entry:
            case Event():
                if entry.type == "run.finished":
                    self.run["status"] = entry.data["status"]
                    self.run["finished_at"] = (datetime.fromisoformat(AT) + timedelta(seconds=2.5)).isoformat()
                data = json.dumps({"seq": seq, "type": entry.type, "at": AT, **entry.data})
                yield f"id: {seq}\nevent: {entry.type}\ndata: {data}\n\n".encode()
            case Words():
                data = json.dumps({"step": entry.step, "attempt": entry.attempt, "text": entry.text})
                yield f"event: token\ndata: {data}\n\n".encode()
            case Step():
                self.steps[int(str(entry.document["step"]))] = entry.document
            case Now():
                self.run.update(entry.run)
            case Wait():
                while not any(path.endswith(entry.path) for _, path, _ in self.asked):  # noqa: ASYNC110  it is a list
                    await asyncio.sleep(0.02)


def finished(status: str = "completed", **run: object) -> list[Entry]:
    return [Now(run), Event("run.finished", {"status": status, "error_code": None, "tokens": 240})]


PLAN = [("done", "Work out 17% of 2,340"), ("in_progress", "Find the day of the week"), ("pending", "Save report.md")]
OPENING: list[Entry] = [Event("run.queued"), Event("run.started")]
TWO_STEPS: list[Entry] = [
    *OPENING,
    Words(1, "I plan "),
    Words(1, "and count."),
    step(
        1,
        "I plan and count.",
        tool(1, "todo_write", {"items": [1, 2, 3]}),
        tool(2, "calculator", {"expression": "0.17*2340"}),
        todo=PLAN,
    ),
    Event("step.replied", {"step": 1, "tools": ["todo_write", "calculator"], "text": "I plan and count."}),
    Event("tool.finished", {"step": 1, "call": 1, "tool": "todo_write", "status": "succeeded"}),
    Event("tool.finished", {"step": 1, "call": 2, "tool": "calculator", "status": "succeeded"}),
]
ANSWER = "17% of 2,340 is **397.8**."
SIMPLE: list[Entry] = [
    *TWO_STEPS,
    Words(2, ANSWER),
    step(2, ANSWER),
    Event("step.replied", {"step": 2, "tools": [], "text": ANSWER}),
    *finished(answer=ANSWER),
]


def demonstration() -> list[Entry]:
    """All that the live view can show, for a person to look at."""
    said = "Now I look at the calendar, write the file, and tell the outside world about it. " * 3
    question = {"question": "Which colour shall the report have?"}
    return [
        *TWO_STEPS[:2],
        *(Words(1, f"{word} ") for word in ("I", "plan", "the", "work", "and", "count", "it.")),
        *TWO_STEPS[4:],
        *(Words(2, f"{word} ") for word in ("Words", "that", "will", "fail")),
        Event("model.failed", {"step": 2, "attempt": 1, "code": "rate_limited", "message": "429 from the provider"}),
        *(Words(2, f"{word} ", 2) for word in said.split()),
        step(
            2,
            said,
            tool(1, "http_post", {"url": "https://example.org/a", "body": "x"}, None),
            tool(2, "ask_user", question, None),
        ),
        Event("step.replied", {"step": 2, "tools": ["http_post", "ask_user"], "text": said}),
        Event("run.waiting", {"waiting_for": "approval of http_post"}),
        Event("approval.requested", {"request_id": REQUEST, "step": 2, "call": 1, "tool": "http_post"}),
        Wait("/messages"),
        Event("word.added", {"author_id": "alice", "text": "blue"}),
        step(
            2,
            said,
            tool(1, "http_post", {"url": "https://example.org/a", "body": "x"}, None),
            tool(2, "ask_user", question),
        ),
        Event("tool.finished", {"step": 2, "call": 2, "tool": "ask_user", "status": "succeeded"}),
        Wait("/approve"),
        Event("approval.closed", {"request_id": REQUEST, "status": "approved", "reason": ""}),
        Event("run.running", {"waiting_for": None}),
        step(
            2,
            said,
            tool(1, "http_post", {"url": "https://example.org/a", "body": "x"}, "failed"),
            tool(2, "ask_user", question),
        ),
        Event("tool.finished", {"step": 2, "call": 1, "tool": "http_post", "status": "failed"}),
        *(Words(3, f"{word} ") for word in f"{ANSWER} And there is a list:\n\n- one\n- two\n".split(" ")),
        step(3, ANSWER),
        Event("step.replied", {"step": 3, "tools": [], "text": ANSWER}),
        *finished(answer=f"{ANSWER}\n\n- one\n- two [link](https://example.org)\n\n```python\nprint(1)\n```\n"),
    ]


def main() -> None:
    stub = StubGateway(demonstration(), pace_seconds=0.15)
    stub.pending = [{"request_id": REQUEST, "title": "Assistant wants to call http_post", "required_approvers": 1}]
    with stub.serving(int(sys.argv[1])):
        threading.Event().wait()


if __name__ == "__main__":
    main()
