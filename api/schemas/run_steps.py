"""Steps and plans of runs in responses."""

import json
from datetime import datetime

from pydantic import BaseModel, JsonValue

from api.schemas.runs import PREFIX, TokensOut
from taskforce.application.runs.history import CallSeen, StepSeen
from taskforce.core.domain.metering.usage import StepUsage
from taskforce.core.domain.runs.questions import ASKING_TOOL, question_id
from taskforce.core.domain.runs.todo import TodoList, TodoStatus
from taskforce.core.domain.runs.transcript import CallStatus


class TodoOut(BaseModel):
    """One item of the agent's plan."""

    text: str
    status: TodoStatus


class CallOut(BaseModel):
    """A tool call.

    Attributes:
        call: The number of the call within the step, from 1.
        tool: The name that the model called.
        arguments: An object, or the model's own text where that is not one.
        status: Null while it is not finished.
        observation: The result as the model was shown it.
        duration_ms: Milliseconds that the tool took.
        result: The URL of the whole result, when the model was shown a part.
        question_id: For a call that asks a person, the id by which a message names the question that it answers.
    """

    call: int
    tool: str
    arguments: JsonValue
    status: CallStatus | None
    observation: str | None
    duration_ms: int | None
    result: str | None
    question_id: str | None


class SaidOut(BaseModel):
    """A person's message that the model read before the step."""

    author_id: str | None
    text: str
    at: datetime


class StepOut(BaseModel):
    """A step: the messages before it, the model's thought, its tool calls and their results.

    Attributes:
        thought_result: The URL of the whole thought, when it is too long to be shown here.
        calls_dropped: The number of tool calls that the model requested beyond the bound, and that are not listed.
    """

    step: int
    thought: str
    thought_result: str | None
    tool_calls: list[CallOut]
    calls_dropped: int
    words: list[SaidOut]
    duration_ms: int
    tokens: TokensOut
    models: list[str]
    todo: list[TodoOut] | None
    at: datetime


def todo_out(todo: TodoList) -> list[TodoOut]:
    """Renders the items of a plan."""
    return [TodoOut(text=item.text, status=item.status) for item in todo.items]


def step_out(run_id: str, step: StepSeen) -> StepOut:
    """Renders a step."""
    return StepOut(
        step=step.step,
        thought=step.thought,
        thought_result=f"{PREFIX}/{run_id}/results/{step.step}/0" if step.thought_cut else None,
        tool_calls=[_call(run_id, step.step, call) for call in step.calls],
        calls_dropped=step.dropped,
        words=[SaidOut(author_id=message.author_id, text=message.text, at=message.at) for message in step.words],
        duration_ms=step.duration_ms,
        tokens=_tokens(step.usage),
        models=list(step.usage.models),
        todo=None if step.todo is None else todo_out(step.todo),
        at=step.at,
    )


def _call(run_id: str, step: int, call: CallSeen) -> CallOut:
    observed = call.observed
    cut = observed is not None and observed.whole_size is not None
    return CallOut(
        call=call.number,
        tool=call.asked.name,
        arguments=_arguments(call.asked.arguments),
        status=observed.status if observed else None,
        observation=observed.text if observed else None,
        duration_ms=(observed.duration_ms or 0) if observed else None,
        result=f"{PREFIX}/{run_id}/results/{step}/{call.number}" if cut else None,
        question_id=question_id(step, call.number) if call.asked.name == ASKING_TOOL else None,
    )


def _arguments(raw: str) -> JsonValue:
    try:
        arguments: JsonValue = json.loads(raw or "{}", parse_constant=_no_constant)
        # A model's arguments may hold lone surrogates or infinite numbers, which strict JSON must not.
        json.dumps(arguments, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return raw
    return arguments if isinstance(arguments, dict) else raw


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _tokens(usage: StepUsage) -> TokensOut:
    return TokensOut(
        input=usage.tokens.input,
        output=usage.tokens.output,
        cached=usage.tokens.cached,
        cache_write=usage.tokens.cache_write,
        reasoning=usage.tokens.reasoning,
        wasted=usage.wasted_tokens,
        estimated=usage.estimated_tokens,
        total=usage.tokens.total,
    )
