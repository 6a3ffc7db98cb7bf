"""The offline model through the transport of any other, with the built-in tools' names and stand-ins for their work."""

import json
from collections.abc import Callable

import pytest

from taskforce.core.interfaces.llm import ChatMessage, ModelRequest, RequestedCall
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.offline_tasks import Task, understand

SAMPLE = "What is 17% of 2,340, what day of the week is it today in Berlin, and save both to notes.txt"
ALL = ("todo_write", "calculator", "current_time", "write_file", "read_file", "http_get", "http_post", "ask_user")
CLOCK = {"date": "2026-03-02", "time": "09:30:00", "weekday": "Monday", "timezone": "Europe/Berlin"}

Tool = Callable[[dict[str, str]], str]
Steps = list[list[tuple[str, dict[str, object]]]]

WORKING: dict[str, Tool] = {
    "todo_write": lambda _: "- [ ] ...",
    "calculator": lambda given: {"17 / 100 * 2340": "397.8"}.get(given["expression"], "42"),
    "current_time": lambda _: json.dumps(CLOCK),
    "write_file": lambda given: f"Wrote {given['path']}.",
    "read_file": lambda _: "milk, eggs",
    "http_get": lambda given: json.dumps({"status": 200, "url": given["url"], "body": "the page"}),
    "http_post": lambda _: json.dumps({"status": 200}),
    "ask_user": lambda _: "Blue",
}


class Loop:
    """A loop around the model, as small as one can be."""

    def __init__(self, model: LiteLLMModel, tools: dict[str, Tool], offered: tuple[str, ...] = ALL) -> None:
        self.model, self.tools = model, tools
        self.specs = tuple(ToolSpec(name, name, {"type": "object"}) for name in offered)
        self.messages: list[ChatMessage] = []
        self.steps: Steps = []

    async def run(self, mission: str, said_meanwhile: str = "") -> str:
        self.messages += [ChatMessage("system", "Work."), ChatMessage("user", mission)]
        while len(self.steps) < 10:
            request = ModelRequest(("offline/demo",), tuple(self.messages), self.specs)
            reply = await self.model.complete(request, lambda _: None)
            self.messages.append(ChatMessage("assistant", reply.text, reply.tool_calls))
            if not reply.tool_calls:
                return reply.text
            self.steps.append([(call.name, json.loads(call.arguments)) for call in reply.tool_calls])
            self.messages += [self.observe(call) for call in reply.tool_calls]
            if said_meanwhile and len(self.steps) == 1:
                self.messages.append(ChatMessage("user", said_meanwhile))
        raise AssertionError("it never answers")

    def observe(self, call: RequestedCall) -> ChatMessage:
        return ChatMessage("tool", self.tools[call.name](json.loads(call.arguments)), tool_call_id=call.id)

    def called(self) -> list[list[str]]:
        return [[name for name, _ in step] for step in self.steps]


async def test_the_sample_mission(model: LiteLLMModel) -> None:
    loop = Loop(model, WORKING)
    answer = await loop.run(SAMPLE)
    assert loop.called() == [
        ["todo_write"],
        ["calculator", "current_time"],
        ["todo_write", "write_file"],
        ["todo_write"],
    ]
    assert loop.steps[1] == [
        ("calculator", {"expression": "17 / 100 * 2340"}),
        ("current_time", {"timezone": "Europe/Berlin"}),
    ]
    written = loop.steps[2][1][1]
    assert written["path"] == "notes.txt"
    assert "397.8" in str(written["content"])
    assert "Monday" in str(written["content"])
    assert {item["status"] for item in loop.steps[3][0][1]["items"]} == {"done"}  # type: ignore[attr-defined]
    assert all(part in answer for part in ("397.8", "Monday", "notes.txt", "offline/demo"))


@pytest.mark.parametrize(
    "observation",
    [
        "Not allowed: the approval of write_file was rejected. Reason: not today. Do not repeat the call unchanged.",
        "Not allowed: the approval of write_file was expired. Reason: not today. Do not repeat the call unchanged.",
        "The tool failed: not today",
        "Refused: not today",
    ],
)
async def test_a_call_that_did_not_work_is_told_with_its_reason(model: LiteLLMModel, observation: str) -> None:
    loop = Loop(model, {**WORKING, "write_file": lambda _: observation})
    answer = await loop.run(SAMPLE)
    assert "I could not do this: Write notes.txt" in answer
    assert "not today" in answer
    assert "397.8" in answer
    assert [step.count("write_file") for step in loop.called()].count(1) == 1


async def test_only_offered_tools_are_used(model: LiteLLMModel) -> None:
    loop = Loop(model, WORKING, offered=("calculator",))
    answer = await loop.run(SAMPLE)
    assert loop.called() == [["calculator"]]
    assert "no tool write_file" in answer


async def test_without_tools_it_answers_with_what_it_has(model: LiteLLMModel) -> None:
    loop = Loop(model, WORKING)
    await loop.run(SAMPLE)
    so_far = loop.messages[: [one.role for one in loop.messages].index("tool") + 4]
    closing = ChatMessage("user", "[You have reached the limit of steps. Answer now.]")
    reply = await model.complete(ModelRequest(("offline/demo",), (*so_far, closing)), lambda _: None)
    assert reply.tool_calls == ()
    assert "397.8" in reply.text
    assert "I did not do this: Write notes.txt" in reply.text
    assert "limit of steps" not in reply.text


async def test_a_word_that_a_person_adds_is_acknowledged(model: LiteLLMModel) -> None:
    answer = await Loop(model, WORKING).run("What is 6*7?", said_meanwhile="Please hurry")
    assert "42" in answer
    assert "Please hurry" in answer


async def test_what_the_person_answers_goes_on(model: LiteLLMModel) -> None:
    loop = Loop(model, WORKING)
    await loop.run("Ask me which colour I like, then write it to colour.txt")
    assert ("ask_user", {"question": "Which colour I like?"}) in loop.steps[1]
    assert ("write_file", {"path": "colour.txt", "content": "Blue"}) in loop.steps[2]


async def test_a_page_is_fetched_and_posted(model: LiteLLMModel) -> None:
    loop = Loop(model, WORKING)
    await loop.run("Fetch https://example.com/a and post it to https://example.com/b")
    assert ("http_get", {"url": "https://example.com/a"}) in loop.steps[1]
    assert ("http_post", {"url": "https://example.com/b", "body": "the page"}) in loop.steps[2]


async def test_a_later_mission_of_the_session_starts_afresh(model: LiteLLMModel) -> None:
    loop = Loop(model, WORKING)
    await loop.run("What is 6*7?")
    loop.steps.clear()
    await loop.run("What is 17% of 2,340?")
    assert ["calculator"] in loop.called()


async def test_what_it_does_not_understand_it_says_so(model: LiteLLMModel) -> None:
    loop = Loop(model, WORKING)
    answer = await loop.run("Write a poem about cats")
    assert loop.steps == []
    assert "TASKFORCE_MODEL" in answer


async def test_it_streams_in_small_pieces_and_estimates_tokens(model: LiteLLMModel) -> None:
    pieces: list[str] = []
    request = ModelRequest(("offline/demo",), (ChatMessage("user", "Who are you?"),))
    reply = await model.complete(request, pieces.append)
    assert "".join(pieces) == reply.text
    assert len(pieces) > 5
    (call,) = reply.calls
    assert call.tokens.input > 0
    assert abs(call.tokens.output - len(reply.text) / 4) <= 1


@pytest.mark.parametrize(
    ("mission", "tasks"),
    [
        ("What is (3+4)*2?", [Task("calculator", "Calculate (3+4)*2", {"expression": "(3+4)*2"})]),
        ("12 divided by 4", [Task("calculator", "Calculate 12 divided by 4", {"expression": "12 / 4"})]),
        ("Read notes.txt", [Task("read_file", "Read notes.txt", {"path": "notes.txt"})]),
        ('Write "hi there" to a/b.md', [Task("write_file", "Write a/b.md", {"path": "a/b.md", "content": "hi there"})]),
        ("We met on 2024-01-02", []),
        ("", []),
    ],
)
def test_what_it_understands(mission: str, tasks: list[Task]) -> None:
    assert list(understand(mission)) == tasks


def test_several_places_are_several_questions() -> None:
    zones = [task.arguments["timezone"] for task in understand("What time is it in New York and in Tokyo?")]
    assert zones == ["America/New_York", "Asia/Tokyo"]
