"""A reply has bounds: what runs away is cut off, its connection closed, and others get their turns meanwhile."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import chain, count, repeat

import pytest

from taskforce.core.interfaces.llm import (
    ChatMessage,
    ModelRefused,
    ModelReply,
    ModelReplyInvalid,
    ModelRequest,
    ModelUnavailable,
)
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.openai_wire import YIELD_BYTES
from taskforce.infrastructure.llm.provider_errors import parsed
from taskforce.infrastructure.llm.reply_limits import DEFAULT_LIMITS, ReplyLimits, calls_note
from taskforce.infrastructure.llm.reply_stream import MOST_PARTS
from tests.fixtures.wild_llm import JSON, Wild, WildLLM, call, delta, document, events, finish

CALCULATOR = ToolSpec("calculator", "Computes.", {"type": "object"})
SMALL = ReplyLimits(
    calls=5, characters=10_000, wire_bytes=100_000, event_bytes=20_000, document_bytes=20_000, error_bytes=1_000
)


@pytest.fixture
async def wild(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WildLLM]:
    async with WildLLM() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


@pytest.fixture
async def small() -> AsyncIterator[LiteLLMModel]:
    transport = LiteLLMModel(limits=SMALL)
    yield transport
    await transport.aclose()


async def ask(transport: LiteLLMModel, seen: list[str] | None = None) -> ModelReply:
    request = ModelRequest(("openai/stub",), (ChatMessage("user", "Go."),), (CALCULATOR,))
    return await transport.complete(request, (seen if seen is not None else []).append)


async def test_calls_beyond_the_limit_are_left_out_and_the_model_is_told(model: LiteLLMModel, wild: WildLLM) -> None:
    wild.says(Wild(call(n, "calculator", "{}", id=f"c{n}") for n in count()))
    seen: list[str] = []
    reply = await ask(model, seen)
    assert [one.id for one in reply.tool_calls] == [f"c{n}" for n in range(DEFAULT_LIMITS.calls)]
    assert reply.text == "".join(seen) == calls_note(DEFAULT_LIMITS.calls)
    assert reply.finish == "stop"
    assert len(wild.requests) == 1


@pytest.mark.parametrize("shape", ["a chunk each", "one chunk", "a document"])
async def test_twenty_thousand_calls_are_as_many_as_are_taken(model: LiteLLMModel, wild: WildLLM, shape: str) -> None:
    made = [
        {"index": n, "id": f"c{n}", "type": "function", "function": {"name": "calculator", "arguments": "{}"}}
        for n in range(20_000 if shape == "a chunk each" else 10_000)
    ]
    answers = {
        "a chunk each": lambda: Wild([*(delta(tool_calls=[one]) for one in made), finish("tool_calls")]),
        "one chunk": lambda: events(delta(tool_calls=made), finish("tool_calls")),
        "a document": lambda: document({"choices": [{"message": {"tool_calls": made}, "finish_reason": "stop"}]}),
    }
    wild.says(answers[shape]())
    assert len((await ask(model)).tool_calls) == DEFAULT_LIMITS.calls


@pytest.mark.parametrize("member", ["content", "reasoning_content", "arguments"])
async def test_a_reply_without_end_is_cut_off(small: LiteLLMModel, wild: WildLLM, member: str) -> None:
    piece = call(0, None, "x" * 50) if member == "arguments" else delta(**{member: "x" * 50})
    begins = call(0, "calculator", '{"expression": "', id="c") if member == "arguments" else b""
    wild.answer = lambda _: Wild(chain([begins], repeat(piece)))
    if member == "content":
        reply = await ask(small)
        assert (len(reply.text), reply.finish) == (SMALL.characters, "length")
    else:
        with pytest.raises(ModelReplyInvalid) as failed:
            await ask(small)
        assert failed.value.details["finish"] == "length"


@pytest.mark.parametrize(
    "answer",
    [
        lambda: Wild(chain([b"data: "], repeat(b"x" * 1_000))),
        lambda: Wild(repeat(b'data: {"choices": []\n')),
        lambda: Wild(repeat(b": nothing but comments\n\n")),
        lambda: Wild(repeat(b"\n" * 500)),
        lambda: Wild(repeat(b'data: {"choices": []}\n\n')),
        lambda: events(b"data: " + b"[" * 15_000 + b"\n\n"),
        lambda: Wild([json.dumps({"choices": []}).encode() + b"[" * 15_000]),
        lambda: document({"choices": [{"message": {"content": "x"}}], "more": [[]] * 3_000}),
        lambda: document({"choices": [{"message": {"content": "x"}}], "more": [1] * 3_000}),
        lambda: events(delta(content="x", more=[1] * 3_000), finish()),
    ],
    ids=[
        "line",
        "event",
        "comments",
        "blank lines",
        "empty chunks",
        "nested event",
        "nested document",
        "brackets",
        "numbers",
        "numbers in an event",
    ],
)
async def test_what_never_becomes_a_reply_is_not_read_for_ever(
    small: LiteLLMModel, wild: WildLLM, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr("taskforce.infrastructure.llm.provider_errors.MOST_VALUES", 2_000)
    assert callable(answer)
    wild.answer = lambda _: answer()
    with pytest.raises(ModelUnavailable):
        await ask(small)


@pytest.mark.parametrize(
    "nothing",
    [
        b": a comment\n\n",
        b"data: {}\n\n",
        delta(),
        call(0, "", ""),
        delta(reasoning_content=[{}]),
        delta(content=[{"type": "thinking", "thinking": ""}]),
    ],
)
async def test_a_stream_that_says_no_more_is_not_waited_on(wild: WildLLM, nothing: bytes) -> None:
    """What comes between two words is bounded, however long the whole may be."""
    transport = LiteLLMModel(limits=replace(DEFAULT_LIMITS, idle_bytes=50_000, idle_chunks=500))
    wild.answer = lambda _: Wild(chain([delta(content="Hel")], repeat(nothing * 50)))
    try:
        reply = await ask(transport)
    except ModelUnavailable:
        assert nothing.startswith(b":")
    else:
        assert (reply.text, reply.finish) == ("Hel", "length")
    await transport.aclose()


@pytest.mark.parametrize("piece", [b" " * 1_000, b"x" * SMALL.document_bytes + b'"}'])
async def test_a_document_that_is_too_long_is_refused_at_once(small: LiteLLMModel, wild: WildLLM, piece: bytes) -> None:
    """Asked again, it would be as long."""
    wild.answer = lambda _: Wild(chain([b'{"more": "'], repeat(piece)), headers=JSON)
    with pytest.raises(ModelRefused) as failed:
        await ask(small)
    assert failed.value.code == "model_reply_too_long"
    assert "20,000 bytes" in failed.value.message
    assert len(wild.requests) == 1


async def test_a_document_as_long_as_is_read_is_a_reply(small: LiteLLMModel, wild: WildLLM) -> None:
    reply = json.dumps({"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}).encode()
    wild.says(Wild([reply.ljust(SMALL.document_bytes)], headers=JSON))
    assert (await ask(small)).text == "fine"


async def test_of_a_refusal_without_end_the_beginning_is_read(small: LiteLLMModel, wild: WildLLM) -> None:
    wild.says(Wild(repeat(b"<p>no</p>" * 500), 503, {"content-type": "text/html"}))
    with pytest.raises(ModelUnavailable):
        await ask(small)


async def test_the_connection_of_a_reply_that_is_cut_off_is_closed(small: LiteLLMModel, wild: WildLLM) -> None:
    wild.says(Wild(repeat(delta(content="x" * 50))))
    await ask(small)
    await asyncio.wait_for(wild.hung_up.wait(), 60)
    assert wild.sent < 50_000_000


async def test_a_reply_without_end_takes_no_more_memory_than_is_kept_of_it(model: LiteLLMModel, wild: WildLLM) -> None:
    await ask_briefly(model, wild)
    wild.says(Wild(repeat(delta(content="x" * 200))))
    tracemalloc.start()
    try:
        await ask(model)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * DEFAULT_LIMITS.characters


async def ask_briefly(model: LiteLLMModel, wild: WildLLM) -> None:
    """What is loaded with the first call is not the reply's."""
    wild.says(events(delta(content="hi"), finish()))
    await ask(model)


async def test_others_get_their_turns_while_a_long_reply_arrives(model: LiteLLMModel, wild: WildLLM) -> None:
    turns = 0
    between: list[int] = [0]

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            between.append(0)
            await asyncio.sleep(0)

    def taken(text: str) -> None:
        between[-1] += len(text)

    wild.says(Wild(repeat(delta(content="xxxx") * 50)))
    other = asyncio.create_task(take_turns())
    request = ModelRequest(("openai/stub",), (ChatMessage("user", "Go."),))
    await model.complete(request, taken)
    other.cancel()
    assert sum(between) == DEFAULT_LIMITS.characters
    assert max(between) < DEFAULT_LIMITS.characters / 25


async def test_others_get_their_turns_between_the_lines_of_a_document(model: LiteLLMModel, wild: WildLLM) -> None:
    await ask_briefly(model, wild)
    line = json.dumps({"choices": [{"delta": {"content": "xxxx"}}]}).encode() + b"\n"
    said: list[str] = []
    longest = 0

    async def take_turns() -> None:
        nonlocal longest
        while True:
            before = len(said)
            await asyncio.sleep(0)
            longest = max(longest, len(said) - before)

    wild.says(Wild([line * 20_000], headers=JSON))
    other = asyncio.create_task(take_turns())
    request = ModelRequest(("openai/stub",), (ChatMessage("user", "Go."),))
    await model.complete(request, said.append)
    other.cancel()
    assert len(said) == 20_000
    assert longest < 2 * YIELD_BYTES / len(line)


async def test_parts_of_a_content_are_said_as_one(model: LiteLLMModel, wild: WildLLM) -> None:
    wild.says(events(delta(content=[{"type": "text", "text": "x"}] * MOST_PARTS), finish()))
    seen: list[str] = []
    reply = await ask(model, seen)
    assert (reply.text, reply.finish) == ("x" * MOST_PARTS, "stop")
    assert len(seen) == 1


async def test_of_more_parts_than_any_content_has_the_first_are_said(model: LiteLLMModel, wild: WildLLM) -> None:
    wild.says(events(delta(content=[{"type": "text", "text": "x"}] * (MOST_PARTS + 1)), finish()))
    reply = await ask(model)
    assert (reply.text, reply.finish) == ("x" * MOST_PARTS, "length")


@pytest.mark.parametrize("word", [",", '\\",', "[{", '"'])
def test_words_full_of_marks_are_one_value(word: str) -> None:
    assert parsed(json.dumps({"content": word * 300_000}).encode()) == {"content": word * 300_000}


@pytest.mark.parametrize("text", [b"[" + b"1," * 200_000 + b"1]", b"[" + b'"",' * 200_000 + b"1]", b"[" * 200_001])
def test_many_values_are_not_parsed(text: bytes) -> None:
    assert parsed(text) is None
