"""Providers that LiteLLM itself calls: their streams hold any character, and their refusals are understood."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from taskforce.core.interfaces.llm import ChatMessage, ModelFailure, ModelReply, ModelRequest
from taskforce.infrastructure.llm.litellm_clients import EscapedSeparators
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.wild_llm import EVENTS, Wild, WildLLM, document, refusal


@pytest.fixture
async def wild(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WildLLM]:
    async with WildLLM() as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-x")
        monkeypatch.setenv("ANTHROPIC_API_BASE", server.root)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.root)
        yield server


def event(kind: str, **data: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data}, ensure_ascii=False)}\n\n".encode()


def anthropic(*texts: str, stop: str = "end_turn") -> Wild:
    usage = {"input_tokens": 9, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": usage}
    begin = [
        event("message_start", message=message),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ]
    said = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": one}) for one in texts]
    end = [
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": stop}, usage={"output_tokens": 4}),
        event("message_stop"),
    ]
    return Wild([*begin, *said, *end], headers=EVENTS)


async def ask(model: LiteLLMModel, *models: str, **more: object) -> ModelReply:
    names = models or ("anthropic/claude-sonnet-4-5",)
    request = ModelRequest(names, (ChatMessage("user", "Go."),), **more)  # type: ignore[arg-type]
    return await model.complete(request, lambda _: None)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
async def test_line_separators_are_characters_of_a_reply(model: LiteLLMModel, wild: WildLLM, separator: str) -> None:
    wild.says(anthropic(f"a{separator}b", "c"))
    reply = await ask(model)
    assert (reply.text, reply.finish) == (f"a{separator}bc", "stop")
    assert (reply.calls[0].input_tokens, reply.calls[0].output_tokens) == (9, 4)


async def test_a_reply_may_repeat_itself(model: LiteLLMModel, wild: WildLLM) -> None:
    wild.says(anthropic(*["----"] * 200))
    assert (await ask(model)).text == "-" * 800


async def test_a_reply_that_is_cut_says_so(model: LiteLLMModel, wild: WildLLM) -> None:
    wild.says(anthropic("As long as", stop="max_tokens"))
    assert (await ask(model)).finish == "length"


async def test_an_option_that_is_refused_is_left_out(wild: WildLLM) -> None:
    model = LiteLLMModel()
    wild.answer = lambda body: refusal(400, "temperature is deprecated") if "temperature" in body else anthropic("fine")
    assert (await ask(model, temperature=0.5)).text == "fine"
    await model.aclose()


async def test_what_is_too_long_for_it_goes_to_the_next(model: LiteLLMModel, wild: WildLLM) -> None:
    error = {"type": "invalid_request_error", "message": "prompt is too long: 300000 tokens > 200000 maximum"}
    wild.says(document({"type": "error", "error": error}, 400), anthropic("fine"))
    reply = await ask(model, "anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-4-5")
    assert [call.failed for call in reply.calls] == ["model_context_too_long", None]


@pytest.mark.parametrize("key", ["sk-ant-x\n", " sk-ant-x"])
async def test_blanks_around_a_key_are_not_of_it(
    model: LiteLLMModel, wild: WildLLM, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    wild.says(anthropic("fine"))
    assert (await ask(model)).text == "fine"
    assert wild.headers[0]["x-api-key"] == "sk-ant-x"


@pytest.mark.parametrize("key", ["sk-ant\nx", "sk-ключ"])
async def test_a_key_that_cannot_be_one(
    model: LiteLLMModel, wild: WildLLM, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    with pytest.raises(ModelFailure) as failed:
        await ask(model)
    assert (failed.value.code, wild.requests) == ("model_key_invalid", [])


async def test_a_base_url_that_is_none(model: LiteLLMModel, wild: WildLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_BASE", wild.root.removeprefix("http://"))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", wild.root.removeprefix("http://"))
    with pytest.raises(ModelFailure) as failed:
        await ask(model)
    assert failed.value.code == "model_endpoint_invalid"


class Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_separators_are_escaped_wherever_the_bytes_are_cut(size: int) -> None:
    body = 'data: "a\u2028b\u2029c\u0085d é 。â"\n\n'.encode()
    stream = Pieces([body[place : place + size] for place in range(0, len(body), size)])
    escaped = EscapedSeparators(stream)
    read = b"".join([piece async for piece in escaped])
    assert read == 'data: "a\\u2028b\\u2029c\\u0085d é 。â"\n\n'.encode()
    await escaped.aclose()
    assert stream.closed


async def test_half_a_character_at_the_end_is_passed_on() -> None:
    assert [piece async for piece in EscapedSeparators(Pieces([b"a\xe2\x80"]))] == [b"a", b"\xe2\x80"]
