"""Providers that LiteLLM itself calls: their streams hold any character, and their refusals are understood."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from itertools import chain, repeat

import httpx
import pytest

from taskforce.core.domain.runs.reply_times import ReplyTimes
from taskforce.core.interfaces.llm import ChatMessage, ModelFailure, ModelReply, ModelRequest, ModelUnavailable
from taskforce.infrastructure.llm.litellm_clients import REPLY_BODIES, BoundedBody, EscapedSeparators, ReplyBodies
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.provider_errors import NotAnApiError, ReplyTooLongError, StreamBrokenError
from taskforce.infrastructure.llm.reply_limits import DEFAULT_LIMITS, ReplyLimits
from tests.fixtures.wild_llm import Wild, WildLLM, document, refusal
from tests.fixtures.wild_streams import BINARY, NOVA, anthropic, begun, converse, event, message


@pytest.fixture
async def wild(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WildLLM]:
    async with WildLLM() as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-x")
        monkeypatch.setenv("ANTHROPIC_API_BASE", server.root)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.root)
        yield server


SMALL = replace(DEFAULT_LIMITS, event_bytes=200_000, idle_bytes=300_000)
PING = event("ping") * 50


@pytest.fixture
async def small() -> AsyncIterator[LiteLLMModel]:
    transport = LiteLLMModel(limits=SMALL)
    yield transport
    await transport.aclose()


async def ask(model: LiteLLMModel, *models: str, **more: object) -> ModelReply:
    names = models or ("anthropic/claude-sonnet-4-5",)
    request = ModelRequest(names, (ChatMessage("user", "Go."),), **more)  # type: ignore[arg-type]
    return await model.complete(request, lambda _: None)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
async def test_line_separators_are_characters_of_a_reply(model: LiteLLMModel, wild: WildLLM, separator: str) -> None:
    wild.says(anthropic(f"a{separator}b", "c"))
    reply = await ask(model)
    assert (reply.text, reply.finish) == (f"a{separator}bc", "stop")
    assert (reply.calls[0].tokens.input, reply.calls[0].tokens.output) == (9, 4)


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


@pytest.mark.parametrize("name", ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro"])
@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain"])
@pytest.mark.parametrize(
    "piece", [b"x" * 10_000, PING, b": nothing but comments\n\n" * 50], ids=["line", "pings", "comments"]
)
async def test_what_never_becomes_a_reply_is_not_read_for_ever(
    wild: WildLLM, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, piece: bytes
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "x")
    transport = LiteLLMModel(api_base=wild.root, limits=SMALL)
    wild.says(Wild(chain([b"data: "], repeat(piece)), headers={"content-type": kind}))
    with pytest.raises(ModelUnavailable) as failed:
        await ask(transport, name)
    assert failed.value.code == "model_stream_broken"
    await asyncio.wait_for(wild.hung_up.wait(), 60)
    assert wild.sent < 20_000_000
    await transport.aclose()


async def test_words_between_long_silences_are_a_reply(small: LiteLLMModel, wild: WildLLM) -> None:
    said = anthropic(*"abcd")
    pings = PING * (80_000 // len(PING))
    wild.says(Wild([piece + pings for piece in said.pieces]))
    assert (await ask(small)).text == "abcd"


async def test_a_deadline_is_kept_while_pings_arrive(wild: WildLLM) -> None:
    transport = LiteLLMModel(limits=replace(DEFAULT_LIMITS, idle_bytes=10**12, wire_bytes=10**12))
    wild.says(Wild(repeat(PING)))
    with pytest.raises(ModelUnavailable) as failed:
        await ask(transport, times={"anthropic/claude-sonnet-4-5": ReplyTimes(first_token_seconds=0.5)})
    assert failed.value.code == "model_timeout"
    await transport.aclose()


async def test_of_a_refusal_without_end_the_beginning_is_read(small: LiteLLMModel, wild: WildLLM) -> None:
    wild.says(Wild(repeat(b"<p>no</p>" * 500), 401, {"content-type": "text/html"}))
    with pytest.raises(ModelFailure) as failed:
        await ask(small)
    assert failed.value.code == "model_key_invalid"


def bounded(
    *pieces: bytes, limits: ReplyLimits = DEFAULT_LIMITS, encoding: str = "identity", status: int = 200
) -> BoundedBody:
    headers = {"content-encoding": encoding}
    response = httpx.Response(status, headers=headers, stream=Pieces(list(pieces)))
    return BoundedBody(response, ReplyBodies(limits))


async def test_others_get_their_turns_between_small_pieces() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    body = b"event: ping\n" * 100_000
    before, read = 0, b""
    async for piece in bounded(body):
        assert len(piece) <= 4_096
        assert turns >= before
        before, read = turns + 1, read + piece
    other.cancel()
    assert read == body


@pytest.mark.parametrize(
    ("limits", "pieces"),
    [
        (replace(DEFAULT_LIMITS, wire_bytes=10_000), [b"data: x\n"] * 2_000),
        (replace(DEFAULT_LIMITS, event_bytes=10_000), [b"\n", b"x" * 6_000, b"x" * 6_000, b"\n"]),
        (replace(DEFAULT_LIMITS, idle_bytes=10_000), [b": x\n" * 3_000]),
    ],
    ids=["body", "line", "idle"],
)
async def test_each_bound_of_a_body(limits: ReplyLimits, pieces: Iterable[bytes]) -> None:
    with pytest.raises(StreamBrokenError):
        [piece async for piece in bounded(*pieces, limits=limits)]


async def test_lines_within_the_bounds_are_no_long_line() -> None:
    lines = (b"x" * 9_000 + b"\r") * 5
    limits = replace(DEFAULT_LIMITS, event_bytes=14_000)
    assert b"".join([piece async for piece in bounded(lines, limits=limits)]) == lines


async def test_compression_counts_as_what_it_holds() -> None:
    limits = replace(DEFAULT_LIMITS, wire_bytes=1_000_000)
    assert [piece async for piece in bounded(gzip.compress(b"hi\n"), limits=limits, encoding="gzip")] == [b"hi\n"]
    with pytest.raises(StreamBrokenError):
        [piece async for piece in bounded(gzip.compress(b"x\n" * 10_000_000), limits=limits, encoding="gzip")]


@pytest.fixture
async def bedrock(wild: WildLLM, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiteLLMModel]:
    for name, value in {"ACCESS_KEY_ID": "AKIAX", "SECRET_ACCESS_KEY": "x", "REGION_NAME": "us-west-2"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    transport = LiteLLMModel(api_base=wild.root, limits=SMALL)
    yield transport
    await transport.aclose()


async def test_a_reply_of_bedrock_is_read(bedrock: LiteLLMModel, wild: WildLLM) -> None:
    words = ["word " * 1_000] * 80
    wild.says(converse(*words))
    reply = await ask(bedrock, NOVA)
    assert reply.text == "".join(words)
    assert len(reply.text) > SMALL.idle_bytes
    assert (reply.calls[0].tokens.input, reply.calls[0].tokens.output) == (9, 70_000)


@pytest.mark.parametrize(
    "endless",
    [
        lambda: repeat(message("messageStart", role="assistant")),
        lambda: chain([begun(10_000_000, 0)], repeat(b"x" * 10_000)),
    ],
    ids=["messages", "message"],
)
async def test_what_bedrock_never_ends_is_not_read_for_ever(
    bedrock: LiteLLMModel, wild: WildLLM, endless: Callable[[], Iterable[bytes]]
) -> None:
    wild.says(Wild(endless(), headers=BINARY))
    with pytest.raises(ModelFailure) as failed:
        await ask(bedrock, NOVA)
    assert failed.value.code == "model_stream_broken"
    await asyncio.wait_for(wild.hung_up.wait(), 60)
    assert wild.sent < 20_000_000


async def test_a_reply_without_end_by_openais_library_is_not_read_for_ever(
    wild: WildLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_API_KEY", "x")
    transport = LiteLLMModel(api_base=f"{wild.root}/openai/v1", limits=SMALL)
    wild.says(Wild(repeat(b": nothing but comments\n\n" * 50)))
    with pytest.raises(ModelFailure) as failed:
        await ask(transport, "azure/gpt-4o")
    assert failed.value.code == "model_stream_broken"
    await asyncio.wait_for(wild.hung_up.wait(), 60)
    await transport.aclose()


@pytest.mark.parametrize("kind", ["json", "events"])
async def test_every_provider_of_litellm_reads_by_the_bounded_client(
    model: LiteLLMModel, wild: WildLLM, kind: str
) -> None:
    transport = await model.open()
    handlers = transport.litellm.llms.custom_httpx.http_handler
    clients = {id(handlers.get_async_httpx_client(name, {"timeout": 5})) for name in ("bedrock", "ollama", "cohere")}
    assert len(clients) == 1
    bodies = ReplyBodies(SMALL)
    REPLY_BODIES.set(bodies)
    wild.says(Wild(repeat(b"[1," * 500), headers={"content-type": f"application/{kind}"}))
    failure = ReplyTooLongError if kind == "json" else StreamBrokenError
    with pytest.raises(failure):
        await handlers.get_async_httpx_client("bedrock").post(wild.url, data=b"{}")
    assert isinstance(bodies.failure, failure)


async def test_what_litellm_reads_in_a_thread_is_bounded(model: LiteLLMModel, wild: WildLLM) -> None:
    transport = await model.open()
    client = transport.litellm.llms.custom_httpx.http_handler.get_httpx_client()
    REPLY_BODIES.set(ReplyBodies(SMALL))
    wild.says(Wild(repeat(b"x" * 10_000)))
    with pytest.raises(StreamBrokenError):
        await asyncio.to_thread(client.post, wild.url, data=b"{}")
    wild.says(Wild([gzip.compress(b"x" * 10_000_000)], headers={"content-encoding": "gzip"}))
    with pytest.raises(NotAnApiError):
        await asyncio.to_thread(client.post, wild.url, data=b"{}")
