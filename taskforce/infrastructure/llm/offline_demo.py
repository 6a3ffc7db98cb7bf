"""`offline/demo`: a rule-based stand-in for a language model, for people without a key.

It plans, calls tools in parallel and answers from what they told it, by a handful of patterns. It keeps no state: like
any model it sees the conversation and nothing else. Its answers say what it is.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from taskforce.core.interfaces.llm import RequestedCall
from taskforce.infrastructure.llm.chat_format import parsed_object
from taskforce.infrastructure.llm.offline_tasks import Task, understand
from taskforce.infrastructure.llm.token_estimate import rough_tokens

FOOTER = "(Answered by offline/demo, a rule-based demo model.)"
ABOUT = (
    "I am offline/demo, a rule-based demo model, and this is beyond my rules. I can calculate, look up the date and "
    "time in a city, read and write files, fetch and post to URLs, and ask you something. For a real model set its "
    "key and name for the worker, for example OPENAI_API_KEY=... and TASKFORCE_MODEL=openai/gpt-4o-mini."
)
PIECE = 16

_FAILED = re.compile(
    r"(?i)\s*(?:the tool (?:failed|did not|was begun)|not allowed|refused|denied|rejected|expired|error|failed|"
    r"there is no tool|the arguments|nobody has answered)\b"
)
_SHOWN = 400
_SINKS = frozenset({"write_file", "http_post"})
_TEXTS = frozenset({"read_file", "http_get", "ask_user"})


@dataclass(frozen=True, slots=True)
class DemoReply:
    """Holds the demo model's text and tool calls."""

    text: str
    calls: tuple[RequestedCall, ...] = ()


@dataclass(frozen=True, slots=True)
class _Done:
    """Holds a call of this run with its observation."""

    tool: str
    arguments: Mapping[str, object]
    observation: str

    @property
    def failed(self) -> bool:
        return _FAILED.match(self.observation) is not None


@dataclass(frozen=True, slots=True)
class _Scene:
    """Holds the state of the conversation: the mission's tasks, and the progress of each."""

    tasks: tuple[Task, ...]
    done: tuple[_Done, ...]
    words: tuple[str, ...]
    offered: frozenset[str]
    turns: int

    def outcomes(self) -> tuple[tuple[Task, _Done | None], ...]:
        """Returns each task with its call: the calls of a tool are in the order of its tasks."""
        left = {task.tool: [one for one in self.done if one.tool == task.tool] for task in self.tasks}
        return tuple((task, left[task.tool].pop(0) if left[task.tool] else None) for task in self.tasks)

    def plans(self) -> tuple[_Done, ...]:
        """Returns the todo lists written so far."""
        return tuple(one for one in self.done if one.tool == "todo_write")


def respond(messages: Sequence[Mapping[str, object]], tools: frozenset[str]) -> DemoReply:
    """Returns the next reply to a conversation.

    Args:
        messages: The conversation in the OpenAI chat vocabulary.
        tools: Names of the tools on offer.

    Returns:
        Tool calls, or the answer.
    """
    scene = _read(messages, tools)
    open_tasks = [task for task, done in scene.outcomes() if done is None and task.tool in tools]
    if not open_tasks:
        return _finish(scene)
    if "todo_write" in tools and not scene.plans():
        return DemoReply("I will go step by step.", _numbered(scene, [_plan(scene, open_tasks[:1])]))
    ready = [task for task in open_tasks if task.gathers is None] or open_tasks
    update = [_plan(scene, ready)] if scene.plans() and any(task.gathers for task in ready) else []
    calls = [(task.tool, {**task.arguments, **_gathered(scene, task)}) for task in ready]
    return DemoReply(f"Next: {', '.join(task.title for task in ready)}.", _numbered(scene, [*update, *calls]))


def _finish(scene: _Scene) -> DemoReply:
    if "todo_write" in scene.offered and scene.plans():
        name, arguments = _plan(scene, [])
        if scene.plans()[-1].arguments != arguments:
            return DemoReply("Everything is tried; I tick off the list.", _numbered(scene, [(name, arguments)]))
    return DemoReply(_answer(scene))


def _numbered(scene: _Scene, calls: Sequence[tuple[str, Mapping[str, object]]]) -> tuple[RequestedCall, ...]:
    return tuple(
        RequestedCall(f"demo_{scene.turns + 1}_{number}", name, json.dumps(arguments, ensure_ascii=False))
        for number, (name, arguments) in enumerate(calls, start=1)
    )


def _plan(scene: _Scene, beginning: Sequence[Task]) -> tuple[str, Mapping[str, object]]:
    items = [{"text": task.title[:150], "status": _status(task, done, beginning)} for task, done in scene.outcomes()]
    return "todo_write", {"items": items}


def _status(task: Task, done: _Done | None, beginning: Sequence[Task]) -> str:
    if done is not None:
        return "pending" if done.failed else "done"
    return "in_progress" if task in beginning else "pending"


def _gathered(scene: _Scene, task: Task) -> Mapping[str, str]:
    """Joins results: one text stays as it is, several become one line each."""
    if task.gathers is None:
        return {}
    found = [(each, done) for each, done in scene.outcomes() if each.tool not in _SINKS and done and not done.failed]
    if len(found) == 1 and found[0][0].tool in _TEXTS:
        return {task.gathers: _text(found[0][1])}
    return {task.gathers: "\n".join(_line(each, done) for each, done in found) or "Nothing was found."}


def _text(done: _Done) -> str:
    body = (parsed_object(done.observation) or {}).get("body")
    return body if done.tool == "http_get" and isinstance(body, str) else done.observation


def _answer(scene: _Scene) -> str:
    outcomes = scene.outcomes()
    if not outcomes:
        return "\n".join([*_acknowledged(scene), ABOUT])
    lines = [f"- {_line(task, done)}" for task, done in outcomes if done is not None and not done.failed]
    lines += [
        f"- I could not do this: {task.title}. The reason: {done.observation[:_SHOWN]}"
        for task, done in outcomes
        if done is not None and done.failed
    ]
    lines += [f"- I did not do this: {task.title}. {_why_not(scene, task)}" for task, done in outcomes if done is None]
    return "\n".join([*lines, *_acknowledged(scene), "", FOOTER])


def _why_not(scene: _Scene, task: Task) -> str:
    if scene.offered and task.tool not in scene.offered:
        return f"I have no tool {task.tool}."
    return "There was no room for it in this run."


def _acknowledged(scene: _Scene) -> list[str]:
    return [f"You also wrote: {message[:_SHOWN]!r}. I have taken note of it." for message in scene.words]


def _line(task: Task, done: _Done) -> str:
    observed = done.observation.strip()
    if task.tool == "calculator":
        return f"{task.title.removeprefix('Calculate ')} = {observed}"
    if task.tool == "current_time":
        return _time_line(task, observed)
    if task.tool == "write_file":
        return f"{task.arguments['path']} is written."
    if task.tool == "http_post":
        return f"{task.title}: done."
    return f"{task.title}: {observed[:_SHOWN]}"


def _time_line(task: Task, observed: str) -> str:
    results = parsed_object(observed) or {}
    city = task.title.removeprefix("Look up the date and time in ")
    if {"weekday", "date", "time"} <= results.keys():
        return f"In {city} it is {results['weekday']}, {results['date']}, {results['time']}."
    return f"{city}: {observed[:_SHOWN]}"


def _read(messages: Sequence[Mapping[str, object]], tools: frozenset[str]) -> _Scene:
    """Reads the state of a run, which begins after the latest answer; bracketed text is the product's."""
    answers = [at for at, each in enumerate(messages) if each.get("role") == "assistant" and not each.get("tool_calls")]
    run = messages[answers[-1] + 1 if answers else 0 :]
    said = [str(each.get("content") or "") for each in run if each.get("role") == "user"]
    mission, words = (said[0], said[1:]) if said else ("", [])
    return _Scene(
        tasks=understand(mission.partition("\n\nContext:\n")[0]),
        done=tuple(_observed(run)),
        words=tuple(message for message in words if not message.startswith("[")),
        offered=tools,
        turns=sum(1 for each in run if each.get("role") == "assistant"),
    )


def _observed(run: Sequence[Mapping[str, object]]) -> Iterator[_Done]:
    results = {
        str(each.get("tool_call_id")): str(each.get("content") or "") for each in run if each.get("role") == "tool"
    }
    for message in run:
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            function = call["function"]
            arguments = parsed_object(str(function["arguments"])) or {}
            yield _Done(str(function["name"]), arguments, results.get(str(call["id"]), "No result was shown."))


def stream(messages: Sequence[Mapping[str, object]], tools: object) -> Iterator[Mapping[str, object]]:
    """Streams the reply in small pieces, as LiteLLM takes them from a custom provider.

    Args:
        messages: The conversation in the OpenAI chat vocabulary.
        tools: The tools on offer, in the same vocabulary, or None.

    Yields:
        Chunks; the last one carries the finish reason and estimated token counts.
    """
    offered = [str(tool["function"]["name"]) for tool in tools] if isinstance(tools, list) else []
    reply = respond(messages, frozenset(offered))
    for start in range(0, len(reply.text), PIECE):
        yield _chunk(text=reply.text[start : start + PIECE])
    for index, call in enumerate(reply.calls):
        function = {"name": call.name, "arguments": call.arguments}
        yield _chunk(tool_use={"index": index, "id": call.id, "type": "function", "function": function})
    asked = rough_tokens(json.dumps(list(messages), default=str), json.dumps(offered))
    said = rough_tokens(reply.text, *(call.name + call.arguments for call in reply.calls))
    usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    yield _chunk(finish="tool_calls" if reply.calls else "stop", usage=usage)


def _chunk(
    text: str = "",
    tool_use: Mapping[str, object] | None = None,
    finish: str = "",
    usage: Mapping[str, int] | None = None,
) -> Mapping[str, object]:
    return {
        "text": text,
        "tool_use": tool_use,
        "is_finished": bool(finish),
        "finish_reason": finish,
        "usage": usage,
        "index": 0,
    }
