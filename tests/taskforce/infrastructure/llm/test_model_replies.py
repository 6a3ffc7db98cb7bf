"""Replies of model servers as people have met them, through the transport and over a real connection."""

import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import chain, repeat

import pytest

from taskforce.core.interfaces.llm import (
    ChatMessage,
    ModelFailure,
    ModelLimited,
    ModelRefused,
    ModelReply,
    ModelReplyInvalid,
    ModelRequest,
    ModelUnavailable,
    Reasoning,
    RequestedCall,
)
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.wild_llm import (
    DONE,
    EVENTS,
    JSON,
    Body,
    Wild,
    WildLLM,
    call,
    chunk,
    delta,
    document,
    events,
    finish,
    refusal,
    words,
)

CALCULATOR = ToolSpec("calculator", "Computes.", {"type": "object", "properties": {"expression": {"type": "string"}}})
ARGUMENTS = '{"expression": "1+1"}'
GO = ChatMessage("user", "Go.")


@pytest.fixture
async def wild(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WildLLM]:
    async with WildLLM() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


@pytest.fixture
async def fresh() -> AsyncIterator[LiteLLMModel]:
    """A transport that has learned nothing of any model yet."""
    transport = LiteLLMModel()
    yield transport
    await transport.aclose()


async def ask(
    transport: LiteLLMModel, *models: str, messages: tuple[ChatMessage, ...] = (GO,), **more: object
) -> ModelReply:
    request = ModelRequest(models or ("openai/stub",), messages, (CALCULATOR,), **more)  # type: ignore[arg-type]
    return await transport.complete(request, lambda _: None)


async def failing(transport: LiteLLMModel, *models: str, **more: object) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        await ask(transport, *models, **more)  # type: ignore[arg-type]
    return caught.value


def calls_of(reply: ModelReply) -> list[tuple[str, str]]:
    return [(one.name, one.arguments) for one in reply.tool_calls]


WHOLE = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7},
}
WHOLE_CALL = {
    "choices": [
        {
            "message": {
                "content": None,
                "tool_calls": [{"id": "c1", "function": {"name": "calculator", "arguments": ARGUMENTS}}],
            },
            "finish_reason": "tool_calls",
        }
    ]
}


class TestStreamsThatAreOdd:
    @pytest.mark.parametrize(
        ("reply", "text"),
        [
            (events(delta(content="hi there"), DONE), "hi there"),
            (events(delta(content="hi"), delta("stop")), "hi"),
            (events(delta("stop", content="hi"), chunk(choices=[], usage={"prompt_tokens": 3})), "hi"),
            (events(delta(content="hi"), delta(""), delta("stop"), DONE), "hi"),
            (
                events(b": waiting\n\n", b"retry: 100\n\n", b"id: 1\nevent: message\n\n", delta(content="hi"), DONE),
                "hi",
            ),
            (events(b"\xef\xbb\xbf", delta(content="hi"), DONE), "hi"),
            (Wild([delta(content="hi").replace(b"\n", b"\r\n"), DONE.replace(b"\n", b"\r\n")]), "hi"),
            (Wild([delta(content="hi").replace(b"\n\n", b"\n"), DONE]), "hi"),
            (events(delta(content=[{"type": "text", "text": "Hel"}]), delta(content="lo"), finish()), "Hello"),
            (events(delta(content=["Hel", {"text": "lo"}]), finish()), "Hello"),
            (events(delta(content="a\u2028b\u2029c\u0085d"), finish()), "a\u2028b\u2029c\u0085d"),
            (events(b'data: {"choices":[{"delta":{"content":"a\xe2\x80\xa8b"}}]}\n\n', DONE), "a\u2028b"),
            (
                events(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n', delta(content="\ude00"), DONE),
                "\U0001f600",
            ),
            (events(b'data: {"choices":[{"delta":{"content":"a\tb"}}]}\n\n', DONE), "a\tb"),
            (events(b'data: {"choices":\ndata: [{"delta":{"content":"hi"}}]}\n\n', DONE), "hi"),
            (events(chunk(choices=[{"message": {"content": "hi"}, "finish_reason": "stop"}])), "hi"),
            (
                events(delta(content="hi"), chunk(choices=[{"message": {"content": "hi"}, "finish_reason": "stop"}])),
                "hi",
            ),
            (events(chunk(choices=[], prompt_filter_results=[]), delta(content="hi"), finish()), "hi"),
            (events(chunk(type="ping"), delta(content="hi"), finish()), "hi"),
            (Wild([delta(content="hi"), DONE], headers={"content-type": "text/plain"}), "hi"),
            (Wild([delta(content="hi"), DONE], headers={}), "hi"),
            (Wild([gzip.compress(delta(content="hi") + DONE)], headers={**EVENTS, "content-encoding": "gzip"}), "hi"),
            (
                Wild([zlib.compress(delta(content="hi") + DONE)], headers={**EVENTS, "content-encoding": "deflate"}),
                "hi",
            ),
        ],
    )
    async def test_are_read(self, model: LiteLLMModel, wild: WildLLM, reply: Wild, text: str) -> None:
        wild.says(reply)
        assert (await ask(model)).text == text
        assert len(wild.requests) == 1

    @pytest.mark.parametrize(
        ("reply", "text"),
        [
            (document(WHOLE), "whole"),
            (Wild([json.dumps(WHOLE, indent=2).encode()], headers={"content-type": "text/event-stream"}), "whole"),
            (Wild([json.dumps(WHOLE).encode()[:9], json.dumps(WHOLE).encode()[9:]], headers={}), "whole"),
            (Wild([b"".join(json.dumps(WHOLE | {"n": n}).encode() + b"\n" for n in range(2))], headers=JSON), "whole"),
        ],
        ids=["as JSON", "called a stream", "without a type", "a line each"],
    )
    async def test_that_are_a_document_are_a_reply(
        self, model: LiteLLMModel, wild: WildLLM, reply: Wild, text: str
    ) -> None:
        wild.says(reply)
        got = await ask(model)
        assert (got.text, got.calls[0].tokens.output) == (text, 7)

    async def test_a_document_may_hold_calls(self, model: LiteLLMModel, wild: WildLLM) -> None:
        wild.says(document(WHOLE_CALL))
        assert calls_of(await ask(model)) == [("calculator", ARGUMENTS)]

    async def test_what_nobody_sends_after_the_end_is_not_waited_for(
        self, model: LiteLLMModel, wild: WildLLM, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("taskforce.infrastructure.llm.model_calls.COUNTS_SECONDS", 0.05)
        wild.says(Wild(chain([delta("stop", content="hi")], repeat(b": still here\n\n"))))
        assert (await ask(model)).text == "hi"

    @pytest.mark.parametrize(
        "reply",
        [
            events(delta(content="Hel")),
            events(delta(content="Hel"), b'data: {"choices": [{"delta"\n\n', DONE),
            events(delta(content="Hel"), delta("network_error")),
            events(delta(content="Hel"), b'event: error\ndata: {"message": "overloaded"}\n\n'),
            events(delta(content="Hel"), chunk(error={"code": 502, "message": "x"}, choices=[{"delta": {}}])),
            Wild([]),
        ],
        ids=["cut", "no JSON", "says so", "error event", "error beside choices", "nothing"],
    )
    async def test_that_break_off_may_be_asked_for_again(self, model: LiteLLMModel, wild: WildLLM, reply: Wild) -> None:
        wild.says(reply)
        assert isinstance(await failing(model), ModelUnavailable)


class TestToolCalls:
    @pytest.mark.parametrize(
        ("pieces", "calls"),
        [
            ([call(0, "calculator", ARGUMENTS, id=""), call(0, "calculator", '{"expression": "2+2"}', id="")], 2),
            ([call(0, "calculator", "", id="t"), call(0, "", ARGUMENTS), call(0, "", '{"expression": "2+2"}')], 2),
            ([call(0, "calculator", ARGUMENTS, id="c"), call(0, "calculator", ARGUMENTS, id="c")], 1),
            ([call(None, "calculator", ARGUMENTS, id="c")], 1),
            ([delta(function_call={"name": "calculator", "arguments": ARGUMENTS})], 1),
        ],
    )
    async def test_are_put_together(self, model: LiteLLMModel, wild: WildLLM, pieces: list[bytes], calls: int) -> None:
        wild.says(events(*pieces, finish("tool_calls")))
        reply = await ask(model)
        assert calls_of(reply) == [("calculator", ARGUMENTS), ("calculator", '{"expression": "2+2"}')][:calls]
        assert len({one.id for one in reply.tool_calls}) == calls

    @pytest.mark.parametrize("written", ["functions.calculator", "calculator<|channel|>commentary", " Calculator"])
    async def test_reach_the_tool_that_they_mean(self, model: LiteLLMModel, wild: WildLLM, written: str) -> None:
        wild.says(events(call(0, written, ARGUMENTS, id="c1"), finish("tool_calls")))
        assert calls_of(await ask(model)) == [("calculator", ARGUMENTS)]

    async def test_of_no_tool_keep_their_name(self, model: LiteLLMModel, wild: WildLLM) -> None:
        wild.says(events(call(0, "write file", "{}", id="c1"), finish("tool_calls")))
        assert calls_of(await ask(model)) == [("write file", "{}")]


def strict(body: Body) -> Wild | None:
    """What OpenAI, Bedrock and Anthropic check of earlier messages."""
    seen: set[str] = set()
    messages = body["messages"]
    assert isinstance(messages, list)
    for message in messages:
        for one in message.get("tool_calls") or []:
            sound = re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one["function"]["name"])
            if not sound or len(one["id"]) > 64 or one["id"] in seen:
                return refusal(400, "Invalid 'messages[1].tool_calls[0]'", "invalid_value")
            seen.add(one["id"])
        if message["role"] == "tool" and message["tool_call_id"] not in seen:
            return refusal(400, "a tool message answers no call", "invalid_value")
    return None


@pytest.mark.parametrize(
    "made",
    [
        (RequestedCall("c1", "functions.calculator", ARGUMENTS),),
        (RequestedCall("c1", "write file", "{}"),),
        (RequestedCall("c1", "calculator<|channel|>commentary", ARGUMENTS),),
        (RequestedCall("c1", "", "{}"),),
        (RequestedCall("c1", "n" * 100, "{}"),),
        (RequestedCall("same", "calculator", ARGUMENTS), RequestedCall("same", "calculator", ARGUMENTS)),
        (RequestedCall("x" * 100, "calculator", ARGUMENTS),),
        (RequestedCall("", "calculator", ARGUMENTS),),
    ],
)
async def test_what_is_sent_back_passes_strict_providers(
    model: LiteLLMModel, wild: WildLLM, made: tuple[RequestedCall, ...]
) -> None:
    wild.answer = lambda body: strict(body) or words("fine")
    told = tuple(ChatMessage("tool", f"seen {n}", tool_call_id=one.id) for n, one in enumerate(made))
    history = (GO, ChatMessage("assistant", "", tool_calls=made), *told)
    assert (await ask(model, messages=history + history)).text == "fine"


class TestReasoning:
    THOUGHT = Reasoning("openai/stub", "reasoning_content", "I compute.")

    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
    async def test_is_kept_with_the_reply(self, model: LiteLLMModel, wild: WildLLM, field: str) -> None:
        first, second = ({field: part} for part in ("I ", "compute."))
        wild.says(events(delta(**first), delta(**second), call(0, "calculator", ARGUMENTS, id="c1"), finish()))
        reply = await ask(model)
        assert reply.reasoning == Reasoning("openai/stub", field, "I compute.")
        assert reply.text == ""

    async def test_in_parts_of_the_content_is_no_part_of_the_words(self, model: LiteLLMModel, wild: WildLLM) -> None:
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
        wild.says(events(delta(content=[thinking]), delta(content=[{"type": "text", "text": "Hi"}]), finish()))
        reply = await ask(model)
        assert (reply.text, reply.reasoning) == ("Hi", Reasoning("openai/stub", "reasoning_content", "hm"))

    async def test_is_sent_back_to_its_model_alone(self, model: LiteLLMModel, wild: WildLLM) -> None:
        wild.says(words("fine"))
        history = (GO, ChatMessage("assistant", "Hm.", reasoning=self.THOUGHT), GO)
        for name in ("openai/stub", "openai/other"):
            await ask(model, name, messages=history)
        sent = [body["messages"][1].get("reasoning_content") for body in wild.requests]  # type: ignore[index]
        assert sent == ["I compute.", None]

    async def test_that_is_demanded_is_made_up_for_and_that_is_remembered(
        self, fresh: LiteLLMModel, wild: WildLLM
    ) -> None:
        def answer(body: Body) -> Wild:
            messages = body["messages"]
            assert isinstance(messages, list)
            if any(one["role"] == "assistant" and not one.get("reasoning_content") for one in messages):
                return refusal(400, "The reasoning_content in the thinking mode must be passed back to the API.")
            return words("fine")

        wild.answer = answer
        history = (GO, ChatMessage("assistant", "Hm."), GO, ChatMessage("assistant", "Hm.", reasoning=self.THOUGHT), GO)
        for _ in range(2):
            assert (await ask(fresh, messages=history)).text == "fine"
        assert len(wild.requests) == 3

    async def test_that_is_refused_is_left_out(self, fresh: LiteLLMModel, wild: WildLLM) -> None:
        def answer(body: Body) -> Wild:
            messages = body["messages"]
            assert isinstance(messages, list)
            refused = any("reasoning_content" in one for one in messages)
            return refusal(400, "property 'reasoning_content' is unsupported") if refused else words("fine")

        wild.answer = answer
        history = (GO, ChatMessage("assistant", "Hm.", reasoning=self.THOUGHT), GO)
        assert (await ask(fresh, messages=history)).text == "fine"


class TestHowAReplyEnds:
    @pytest.mark.parametrize(
        ("reason", "finished"),
        [
            ("stop", "stop"),
            ("tool_calls", "stop"),
            ("length", "length"),
            ("max_tokens", "length"),
            ("model_length", "length"),
            ("content_filter", "content_filter"),
            ("SAFETY", "content_filter"),
        ],
    )
    async def test_is_said(self, model: LiteLLMModel, wild: WildLLM, reason: str, finished: str) -> None:
        wild.says(words("The three steps are: first, you open the", reason))
        assert (await ask(model)).finish == finished

    async def test_a_models_own_refusal_is_its_words(self, model: LiteLLMModel, wild: WildLLM) -> None:
        wild.says(events(delta(refusal="I will "), delta(refusal="not."), finish()))
        reply = await ask(model)
        assert (reply.text, reply.finish) == ("I will not.", "content_filter")

    @pytest.mark.parametrize(("cap", "named"), [(None, "the provider's own"), (256, "max_tokens, 256")])
    async def test_thinking_that_used_up_the_length_names_the_limit(
        self, model: LiteLLMModel, wild: WildLLM, cap: int | None, named: str
    ) -> None:
        wild.says(events(delta(reasoning_content="hm " * 9), finish("length")))
        failure = await failing(model, max_tokens=cap)
        assert isinstance(failure, ModelReplyInvalid)
        assert named in failure.message
        assert failure.details["finish"] == "length"

    async def test_a_filter_that_leaves_nothing_is_a_refusal(self, model: LiteLLMModel, wild: WildLLM) -> None:
        wild.says(events(finish("content_filter")))
        assert (await failing(model)).code == "model_content_refused"


PAGE = Wild([b"<!doctype html><html><title>Sign in</title>"], headers={"content-type": "text/html"})


class TestWhatWillNotChange:
    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (refusal(429, "You exceeded your current quota.", "insufficient_quota"), "model_payment_required"),
            (refusal(429, "quota", None, "exceeded_current_quota_error"), "model_payment_required"),
            (refusal(403, "quota", "insufficient_user_quota"), "model_payment_required"),
            (refusal(400, "wrong key", "invalid_api_key"), "model_key_invalid"),
            (refusal(400, "no such model", "model_not_found"), "model_not_found"),
            (refusal(404, "no such model", "model_not_found"), "model_not_found"),
            (refusal(200, "wrong", "invalid_value"), "model_request_invalid"),
            (document({"error": "model 'x' not found"}, 404), "model_not_found"),
            (document({"error": {"message": "wrong key", "code": 401}}), "model_key_invalid"),
            (
                document([{"error": {"message": "no", "code": 403, "status": "PERMISSION_DENIED"}}], 403),
                "model_forbidden",
            ),
            (document({"object": "error", "message": "no such model", "code": 404}, 404), "model_not_found"),
            (PAGE, "model_endpoint_invalid"),
            (Wild(PAGE.pieces, 404, PAGE.headers), "model_endpoint_invalid"),
            (Wild([b"404 page not found"], 404, {"content-type": "text/plain"}), "model_endpoint_invalid"),
            (document({"detail": "Not Found"}, 404), "model_endpoint_invalid"),
            (document({"error": "Not Found", "path": "/chat/completions"}, 404), "model_endpoint_invalid"),
            (document({"detail": "Method Not Allowed"}, 405), "model_endpoint_invalid"),
            (document({"status": "ok"}), "model_endpoint_invalid"),
            (Wild([b"ok"], headers={"content-type": "text/plain"}), "model_endpoint_invalid"),
            (Wild([], 302, {"location": "https://sso.example/login?token=1"}), "model_endpoint_invalid"),
            (Wild([b"x"], headers={**EVENTS, "content-encoding": "br"}), "model_endpoint_invalid"),
        ],
    )
    async def test_is_a_refusal_at_once(self, model: LiteLLMModel, wild: WildLLM, answer: Wild, code: str) -> None:
        wild.says(answer)
        failure = await failing(model, "openai/first", "openai/second")
        assert isinstance(failure, ModelRefused)
        assert failure.code == code
        assert len(wild.requests) == 1

    async def test_names_what_was_seen(self, model: LiteLLMModel, wild: WildLLM) -> None:
        wild.says(PAGE)
        message = (await failing(model)).message
        assert f"{wild.url}/chat/completions answers 200 with text/html: 'Sign in'" in message
        wild.says(Wild([], 302, {"location": "https://user:secret@sso.example/login?token=1"}))
        message = (await failing(model)).message
        assert "it redirects to https://sso.example/login" in message
        assert "token" not in message

    @pytest.mark.parametrize("base", ["127.0.0.1:9/v1", "localhost/v1", "http://", "ftp://host/v1", "http://a b/v1"])
    async def test_a_base_url_that_is_none(
        self, model: LiteLLMModel, monkeypatch: pytest.MonkeyPatch, base: str
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        monkeypatch.setenv("OPENAI_BASE_URL", base)
        failure = await failing(model)
        assert isinstance(failure, ModelRefused)
        assert (failure.code, base in failure.message) == ("model_endpoint_invalid", True)

    @pytest.mark.parametrize("key", ["sk-x\n", " sk-x", "sk-x\r\n"])
    async def test_blanks_around_a_key_are_not_of_it(
        self, model: LiteLLMModel, wild: WildLLM, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        wild.says(words("fine"))
        assert (await ask(model)).text == "fine"
        assert wild.headers[0]["authorization"] == "Bearer sk-x"

    @pytest.mark.parametrize("key", ["sk-first\nsk-second", "sk-ключ", "Bearer sk-x"])
    async def test_a_key_that_cannot_be_one(
        self, model: LiteLLMModel, wild: WildLLM, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        failure = await failing(model)
        assert (failure.code, wild.requests) == ("model_key_invalid", [])
        assert key not in failure.message


class TestWhatMayPass:
    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (refusal(429, "slow down", "rate_limit_exceeded"), ModelLimited),
            (Wild([b"<html>429"], 429, {"content-type": "text/html", "retry-after": "3"}), ModelLimited),
            (Wild([b"<html>502"], 502, {"content-type": "text/html"}), ModelUnavailable),
            (refusal(200, "slow down", None, "rate_limit_error"), ModelLimited),
            (refusal(200, "busy", None, "overloaded_error"), ModelUnavailable),
            (document({"error": {"message": "busy", "code": "503"}}), ModelUnavailable),
            (events(chunk(error={"message": "slow down", "code": 429})), ModelLimited),
            (events(b'{"error": {"message": "busy", "type": "server_error"}}\n'), ModelUnavailable),
        ],
    )
    async def test_is_no_refusal(
        self, model: LiteLLMModel, wild: WildLLM, answer: Wild, kind: type[ModelFailure]
    ) -> None:
        wild.says(answer)
        assert isinstance(await failing(model), kind)

    async def test_in_the_middle_of_a_stream_a_refusal_is_one(self, model: LiteLLMModel, wild: WildLLM) -> None:
        wild.says(events(delta(content="Hel"), chunk(error={"message": "x", "code": "insufficient_quota"})))
        assert (await failing(model)).code == "model_payment_required"


async def test_a_request_is_sent_on_within_a_host_alone(model: LiteLLMModel, wild: WildLLM) -> None:
    moved = Wild([], 307, {"location": "/v2/chat/completions"})
    wild.says(moved, words("fine"))
    assert (await ask(model)).text == "fine"
    assert wild.paths == ["/v1/chat/completions", "/v2/chat/completions"]
    async with WildLLM() as other:
        wild.says(Wild([], 307, {"location": other.url.replace("127.0.0.1", "localhost")}))
        assert (await failing(model)).code == "model_endpoint_invalid"
        assert other.requests == []
    wild.says(moved)
    assert (await failing(model)).code == "model_endpoint_invalid"


Refuses = Callable[[Body], bool]


class TestOptionsThatAModelRefuses:
    @pytest.mark.parametrize(
        ("message", "refuses"),
        [
            ("Extra inputs are not permitted: stream_options", lambda body: "stream_options" in body),
            ("Unsupported value: 'temperature' does not support 0.5.", lambda body: "temperature" in body),
            ("Unsupported parameter: 'max_tokens'.", lambda body: "max_tokens" in body),
            ("Unsupported parameter: max_completion_tokens or max_tokens", lambda body: "max_" in str(body)),
            ("Unsupported value: 'stream' does not support true.", lambda body: bool(body.get("stream"))),
        ],
    )
    async def test_are_left_out_and_that_is_remembered(
        self, fresh: LiteLLMModel, wild: WildLLM, message: str, refuses: Refuses
    ) -> None:
        wild.answer = lambda body: refusal(400, message) if refuses(body) else document(WHOLE)
        first, second = [await ask(fresh, temperature=0.5, max_tokens=99) for _ in range(2)]
        assert first.text == second.text == "whole"
        assert not refuses(wild.requests[-1])
        assert (len(first.calls) > 1, len(second.calls)) == (True, 1)
        assert wild.requests[-1] == wild.requests[-2]

    async def test_a_cap_gets_its_other_name(self, fresh: LiteLLMModel, wild: WildLLM) -> None:
        wild.answer = lambda body: refusal(400, "Use 'max_tokens' not") if "max_tokens" in body else words("fine")
        await ask(fresh, max_tokens=99)
        assert wild.requests[-1]["max_completion_tokens"] == 99

    async def test_a_model_that_refuses_whatever_is_asked_is_not_asked_for_ever(
        self, fresh: LiteLLMModel, wild: WildLLM
    ) -> None:
        wild.says(refusal(400, "temperature, stream_options, max_tokens, max_completion_tokens and 'stream'"))
        failure = await failing(fresh, temperature=0.5, max_tokens=99)
        assert failure.code == "model_request_invalid"
        assert len(wild.requests) <= 5


class TestFallbacks:
    @pytest.mark.parametrize(
        "refused",
        [
            refusal(400, "This model's maximum context length is 8192 tokens, however", "context_length_exceeded"),
            refusal(400, "This model's maximum context length is 8192 tokens. Reduce max_tokens."),
            refusal(413, "too large", None, "request_too_large"),
            refusal(400, "no", "content_filter"),
            events(finish("content_filter")),
            events(chunk(error={"message": "too long", "code": "context_length_exceeded"})),
        ],
    )
    async def test_are_asked_what_the_first_cannot_take(
        self, model: LiteLLMModel, wild: WildLLM, refused: Wild
    ) -> None:
        wild.answer = lambda body: refused if body["model"] == "small" else words("fine")
        reply = await ask(model, "openai/small", "openai/big")
        assert (reply.text, [one.model for one in reply.calls]) == ("fine", ["openai/small", "openai/big"])

    async def test_when_none_can_the_first_speaks(self, model: LiteLLMModel, wild: WildLLM) -> None:
        wild.says(refusal(400, "too long", "context_length_exceeded"), refusal(401, "no"))
        assert (await failing(model, "openai/small", "openai/big")).code == "model_context_too_long"

    async def test_one_that_may_have_room_later_is_worth_waiting_for(self, model: LiteLLMModel, wild: WildLLM) -> None:
        wild.says(refusal(400, "too long", "context_length_exceeded"), refusal(429, "slow down"))
        assert isinstance(await failing(model, "openai/small", "openai/big"), ModelLimited)


USAGES: list[tuple[Mapping[str, object], tuple[int, int, int]]] = [
    ({"usage": {"prompt_tokens": 50, "completion_tokens": 7}}, (50, 7, 0)),
    ({"x_groq": {"usage": {"prompt_tokens": 50, "completion_tokens": 7}}}, (50, 7, 0)),
    ({"choices": [{"delta": {}, "usage": {"prompt_tokens": 50, "completion_tokens": 7}}]}, (50, 7, 0)),
    ({"usage": {"input_tokens": 50, "output_tokens": 7}}, (50, 7, 0)),
    ({"usage": {"prompt_tokens": 50, "completion_tokens": 7, "prompt_cache_hit_tokens": 32}}, (50, 7, 32)),
    ({"usage": {"prompt_tokens": 50, "completion_tokens": 7, "cached_tokens": 99}}, (50, 7, 50)),
    ({"usage": {"prompt_tokens": 50.0, "completion_tokens": 7}}, (50, 7, 0)),
    (
        {
            "usage": {
                "prompt_tokens": 50,
                "completion_tokens": 7,
                "total_tokens": 67,
                "completion_tokens_details": {"reasoning_tokens": 10},
            }
        },
        (50, 17, 0),
    ),
]


class TestTokens:
    @pytest.mark.parametrize(("last", "counted"), USAGES)
    async def test_are_found_where_the_server_puts_them(
        self, model: LiteLLMModel, wild: WildLLM, last: Mapping[str, object], counted: tuple[int, int, int]
    ) -> None:
        wild.says(events(delta(content="hi"), delta("stop"), chunk(**{"choices": [], **last}), DONE))
        (made,) = (await ask(model)).calls
        assert (made.tokens.input, made.tokens.output, made.tokens.cached) == counted
        assert (made.estimated, made.provider) == (None, "openai")

    async def test_are_counted_by_a_tokenizer_where_the_server_does_not(
        self, model: LiteLLMModel, wild: WildLLM
    ) -> None:
        said = ("人工智能正在改变我们的生活方式。今天的天气很好。" * 30)[:700]
        wild.says(events(delta(content=said), finish(usage=None)))
        (made,) = (await ask(model)).calls
        assert 400 <= made.tokens.output <= 1_000
        assert made.estimated == "tokenizer"

    async def test_of_a_server_that_counts_hardly_any_are_ours(self, model: LiteLLMModel, wild: WildLLM) -> None:
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        wild.says(events(delta(content="many words " * 4_000), finish(usage=usage)))
        (made,) = (await ask(model, messages=(ChatMessage("user", "words " * 10_000),))).calls
        assert made.tokens.input > 5_000
        assert made.tokens.output > 5_000
        assert made.estimated == "tokenizer"
