import asyncio
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from taskforce.core.domain.metering.tokens import NO_TOKENS
from taskforce.core.interfaces.llm import (
    ChatMessage,
    ModelFailure,
    ModelInterrupted,
    ModelLimited,
    ModelRefused,
    ModelReplyInvalid,
    ModelRequest,
    ModelUnavailable,
    RequestedCall,
)
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.scripted_llm import (
    Reply,
    ScriptedLLM,
    broken_json,
    cut,
    empty,
    error_event,
    hang,
    status,
    text,
    tool_calls,
    unfinished,
)
from tests.taskforce.infrastructure.llm.conftest import KEY

TOOL = ToolSpec("calculator", "Computes.", {"type": "object", "properties": {"expression": {"type": "string"}}})


def asking(*models: str) -> ModelRequest:
    return ModelRequest(models or ("openai/first",), (ChatMessage("user", "Go"),), (TOOL,))


def ignore(_: str) -> None:
    pass


async def failing(model: LiteLLMModel, request: ModelRequest) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        await model.complete(request, ignore)
    return caught.value


def sent_messages(llm: ScriptedLLM, at: int = -1) -> list[dict[str, object]]:
    messages = llm.requests[at]["messages"]
    assert isinstance(messages, list)
    return messages


class TestReplies:
    async def test_text_is_streamed_and_counted(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 7,
            "total_tokens": 107,
            "prompt_tokens_details": {"cached_tokens": 64},
        }
        llm.script([text("Hel", "lo", usage=usage)])
        pieces: list[str] = []
        reply = await model.complete(asking(), pieces.append)
        assert pieces == ["Hel", "lo"]
        assert (reply.text, reply.tool_calls) == ("Hello", ())
        (call,) = reply.calls
        assert (call.model, call.tokens.input, call.tokens.output, call.tokens.cached) == ("openai/first", 100, 7, 64)
        assert call.failed is None

    async def test_several_tool_calls_beside_words(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([tool_calls([("calculator", {"expression": "1"}), ("clock", {})], says="Both.")])
        reply = await model.complete(asking(), ignore)
        assert reply.text == "Both."
        assert reply.tool_calls == (
            RequestedCall("call_0", "calculator", '{"expression": "1"}'),
            RequestedCall("call_1", "clock", "{}"),
        )

    async def test_malformed_arguments_pass_for_the_loop_to_tell_the_model(
        self, model: LiteLLMModel, llm: ScriptedLLM
    ) -> None:
        llm.script([tool_calls([("calculator", '{"expression": ')])])
        reply = await model.complete(asking(), ignore)
        assert reply.tool_calls[0].arguments == '{"expression": '
        assert len(llm.requests) == 1

    async def test_what_is_asked_reaches_the_provider(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([text("Fine")])
        called = ChatMessage("assistant", "", (RequestedCall("c1", "calculator", "{bad"),))
        messages = (ChatMessage("system", "Be brief."), ChatMessage("user", "Go"), called)
        told = ChatMessage("tool", "no JSON", tool_call_id="c1")
        request = ModelRequest(("openai/first",), (*messages, told), (TOOL,), temperature=0.5, max_tokens=99)
        await model.complete(request, ignore)
        (body,) = llm.requests
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("first", 0.5, 99)
        asked, told_back = sent_messages(llm)[2:]
        assert sent_messages(llm)[:2] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Go"},
        ]
        function = {"name": "calculator", "arguments": '{"malformed_arguments": "{bad"}'}
        assert asked["tool_calls"] == [{"id": "c1", "type": "function", "function": function}]
        assert told_back == {"role": "tool", "content": "no JSON", "tool_call_id": "c1"}

    async def test_an_option_that_the_model_does_not_know_is_left_out(
        self, model: LiteLLMModel, llm: ScriptedLLM
    ) -> None:
        llm.script([text("Fine")])
        request = ModelRequest(("openai/o3-mini",), (ChatMessage("user", "Go"),), temperature=0.5)
        assert (await model.complete(request, ignore)).text == "Fine"
        assert "temperature" not in llm.requests[0]


class TestRepliesThatCannotBeUsed:
    async def test_an_empty_one_is_asked_for_once_more(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([empty(), text("Now")])
        reply = await model.complete(asking(), ignore)
        assert reply.text == "Now"
        assert [call.failed for call in reply.calls] == ["model_reply_invalid", None]
        assert reply.calls[0].tokens.input == 20
        assert len(sent_messages(llm, 1)) == len(sent_messages(llm, 0)) + 1

    @pytest.mark.parametrize(
        "bad",
        [
            empty(),
            text("  \n"),
            tool_calls([("", {})]),
            tool_calls([("calculator", '{"expression": "1 +')], finish_reason="length"),
        ],
        ids=["empty", "blank", "nameless call", "call cut by the length"],
    )
    async def test_two_are_a_failure(self, model: LiteLLMModel, llm: ScriptedLLM, bad: Reply) -> None:
        llm.script([bad, bad])
        failure = await failing(model, asking("openai/first", "openai/second"))
        assert isinstance(failure, ModelReplyInvalid)
        assert failure.code == "model_reply_invalid"
        assert [call.failed for call in failure.calls] == ["model_reply_invalid"] * 2
        assert len(llm.requests) == 2

    async def test_words_cut_by_the_length_are_still_words(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([text("As long as", finish_reason="length")])
        reply = await model.complete(asking(), ignore)
        assert (reply.text, reply.finish) == ("As long as", "length")

    async def test_filtered_content_is_a_refusal(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([text(finish_reason="content_filter")])
        assert (await failing(model, asking())).code == "model_content_refused"


# Far away: a slow suite may come to it an hour after it was collected.
IN_A_DAY = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)


class TestRateLimits:
    @pytest.mark.parametrize(
        ("headers", "low", "high"),
        [
            ({"retry-after": "7"}, 7, 7),
            ({"retry-after": "0.5"}, 0.5, 0.5),
            ({"Retry-After": IN_A_DAY}, 3600, 86_400),
            ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
            ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5, 1.5),
            ({"retry-after": "99999999999"}, 86_400, 86_400),
        ],
    )
    async def test_say_when_to_come_back(
        self, model: LiteLLMModel, llm: ScriptedLLM, headers: dict[str, str], low: float, high: float
    ) -> None:
        llm.script([status(429, headers)])
        failure = await failing(model, asking())
        assert isinstance(failure, ModelLimited)
        assert failure.retry_after is not None
        assert low <= failure.retry_after <= high
        assert len(llm.requests) == 1

    @pytest.mark.parametrize("headers", [{}, {"retry-after": "soon"}, {"retry-after": "nan"}])
    async def test_without_a_readable_time(
        self, model: LiteLLMModel, llm: ScriptedLLM, headers: dict[str, str]
    ) -> None:
        llm.script([status(429, headers)])
        failure = await failing(model, asking())
        assert (failure.code, failure.retry_after) == ("model_rate_limited", None)

    async def test_sent_as_an_event_of_the_stream(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([error_event(code=429)])
        assert isinstance(await failing(model, asking()), ModelLimited)


class TestUnavailable:
    @pytest.mark.parametrize("code", [500, 502, 503, 504, 529])
    async def test_server_errors_are_not_retried_here(self, model: LiteLLMModel, llm: ScriptedLLM, code: int) -> None:
        llm.script([status(code)])
        failure = await failing(model, asking())
        assert isinstance(failure, ModelUnavailable)
        assert len(llm.requests) == 1
        assert [(call.failed, call.tokens, call.estimated) for call in failure.calls] == [
            (failure.code, NO_TOKENS, None)
        ]

    @pytest.mark.parametrize(
        "reply",
        [cut("Hel"), cut(), broken_json("Hel"), error_event("Hel")],
        ids=["cut", "cut at once", "broken JSON", "error event"],
    )
    async def test_a_stream_that_breaks(self, model: LiteLLMModel, llm: ScriptedLLM, reply: Reply) -> None:
        llm.script([reply])
        failure = await failing(model, asking())
        assert isinstance(failure, ModelUnavailable)
        assert len(llm.requests) == 1
        (call,) = failure.calls
        assert call.failed == failure.code
        assert (call.tokens.output > 0) == bool(reply.content)
        assert (call.tokens.input > 0) == bool(reply.content)
        assert call.estimated == ("cut_off" if reply.content else None)

    async def test_a_stream_that_ends_politely_is_whole(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([unfinished("Hello")])
        reply = await model.complete(asking(), ignore)
        assert (reply.text, reply.finish) == ("Hello", "stop")

    async def test_nobody_listens(self, model: LiteLLMModel, llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        assert isinstance(await failing(model, asking()), ModelUnavailable)


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "ours"),
        [
            (400, "model_request_invalid"),
            (401, "model_key_invalid"),
            (402, "model_payment_required"),
            (403, "model_forbidden"),
            (404, "model_not_found"),
            (422, "model_request_invalid"),
        ],
    )
    async def test_end_the_call_at_once(self, model: LiteLLMModel, llm: ScriptedLLM, code: int, ours: str) -> None:
        llm.script([status(code), text("never asked for")])
        failure = await failing(model, asking("openai/first", "openai/second"))
        assert isinstance(failure, ModelRefused)
        assert failure.code == ours
        assert len(llm.requests) == 1
        assert [call.failed for call in failure.calls] == [ours]

    async def test_say_what_the_provider_did_not_like(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([status(400, message="Invalid schema for function 'calculator'")])
        assert "Invalid schema for function" in (await failing(model, asking())).message

    async def test_name_the_variable_of_a_missing_key(
        self, model: LiteLLMModel, llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY")
        failure = await failing(model, asking())
        assert failure.code == "model_key_missing"
        assert "OPENAI_API_KEY" in failure.message
        assert llm.requests == []

    async def test_name_the_guides_variable_for_azure(
        self, model: LiteLLMModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_API_BASE"):
            monkeypatch.delenv(name, raising=False)
        failure = await failing(model, asking("azure/gpt-4o"))
        assert failure.code == "model_key_missing"
        assert "AZURE_OPENAI_API_KEY" in failure.message

    @pytest.mark.parametrize("name", ["gpt-nobody-knows", "nobody/knows"])
    async def test_explain_a_name_without_a_provider(self, model: LiteLLMModel, name: str) -> None:
        failure = await failing(model, asking(name))
        assert (failure.code, failure.kind) == ("model_not_found", "invalid")
        assert "openai/gpt-4o-mini" in failure.message

    async def test_no_model_at_all(self, model: LiteLLMModel) -> None:
        request = ModelRequest((), (ChatMessage("user", "Go"),))
        assert (await failing(model, request)).code == "model_not_named"


class TestFallbacks:
    @pytest.mark.parametrize("first", [status(429), status(500), cut("Hel"), broken_json()])
    async def test_the_next_model_is_asked_at_once(self, model: LiteLLMModel, llm: ScriptedLLM, first: Reply) -> None:
        llm.script([first, text("From the second")])
        reply = await model.complete(asking("openai/first", "openai/second"), ignore)
        assert reply.text == "From the second"
        assert [body["model"] for body in llm.requests] == ["first", "second"]
        assert [(call.model, bool(call.failed)) for call in reply.calls] == [
            ("openai/first", True),
            ("openai/second", False),
        ]

    async def test_when_all_fail_the_first_speaks(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([status(500), status(429, {"retry-after": "5"})])
        failure = await failing(model, asking("openai/first", "openai/second"))
        assert isinstance(failure, ModelUnavailable)
        assert failure.details["model"] == "openai/first"
        assert [call.model for call in failure.calls] == ["openai/first", "openai/second"]

    async def test_when_all_are_limited_the_shortest_wait_counts(self, model: LiteLLMModel, llm: ScriptedLLM) -> None:
        llm.script([status(429, {"retry-after": "50"}), status(429, {"retry-after": "5"})])
        failure = await failing(model, asking("openai/first", "openai/second"))
        assert isinstance(failure, ModelLimited)
        assert failure.retry_after == 5

    async def test_a_fallback_that_is_refused_does_not_end_what_can_be_retried(
        self, model: LiteLLMModel, llm: ScriptedLLM
    ) -> None:
        llm.script([status(503), status(401)])
        failure = await failing(model, asking("openai/first", "openai/second"))
        assert isinstance(failure, ModelUnavailable)
        assert [call.failed for call in failure.calls] == ["model_unavailable", "model_key_invalid"]


@pytest.mark.parametrize(
    "reply",
    [
        lambda said: status(400, message=said),
        lambda said: status(401, message=said),
        lambda said: status(429, message=said),
        lambda said: status(500, message=said),
        lambda said: Reply(frames=(f'data: {{"error": {{"message": "{said}"}}}}\n\n',)),
    ],
)
async def test_no_secret_is_in_any_error(
    model: LiteLLMModel, llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch, reply: Callable[[str], Reply]
) -> None:
    monkeypatch.setenv("SOME_OTHER_PASSWORD", "plain-words-only")
    llm.script([reply(f"Key {KEY} and plain-words-only and sk-abcdefghijklmnop1234 are wrong")])
    failure = await failing(model, asking())
    everything = "".join(traceback.format_exception(failure)) + repr(failure.details) + failure.message
    assert llm.headers[0]["authorization"] == f"Bearer {KEY}"
    for secret in (KEY, "plain-words-only", "abcdefghijklmnop"):
        assert secret not in everything


@pytest.mark.parametrize("reply", [hang(), hang("Hel")], ids=["before the reply", "in the middle of it"])
async def test_cancelling_hangs_up_at_once(model: LiteLLMModel, llm: ScriptedLLM, reply: Reply) -> None:
    llm.script([reply])
    arrived = asyncio.Event()
    call = asyncio.create_task(model.complete(asking(), lambda _: arrived.set()))
    await (arrived.wait() if reply.content else llm.until(lambda it: len(it.requests) == 1))
    call.cancel()
    with pytest.raises(ModelInterrupted) as gone:
        await call
    (made,) = gone.value.calls
    assert (made.failed, made.tokens.input > 0, made.tokens.output > 0) == ("cancelled", True, bool(reply.content))
    assert made.estimated == "cut_off"
    assert call.cancelled()
    await llm.until(lambda it: it.hangups == 1)


async def test_calls_run_side_by_side(model: LiteLLMModel, llm: ScriptedLLM) -> None:
    llm.reply = lambda body: text(f"I am {body['model']}")
    names = [f"m{number}" for number in range(10)]
    replies = await asyncio.gather(*(model.complete(asking(f"openai/{name}"), ignore) for name in names))
    assert [reply.text for reply in replies] == [f"I am {name}" for name in names]


async def test_an_explicit_base_url_goes_before_the_environment(llm: ScriptedLLM) -> None:
    async with ScriptedLLM() as other:
        other.script([text("From the other")])
        transport = LiteLLMModel(api_base=other.url)
        reply = await transport.complete(asking(), ignore)
        await transport.aclose()
    assert reply.text == "From the other"
    assert llm.requests == []


async def test_calls_that_come_at_once_open_one_transport(llm: ScriptedLLM) -> None:
    model = LiteLLMModel(api_base=llm.url)
    opened = await asyncio.gather(*(model.open() for _ in range(8)))
    assert len({id(transport) for transport in opened}) == 1
    await model.aclose()
