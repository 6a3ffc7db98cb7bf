"""A reply has three times: to its first token, between two tokens, and in all. Hours pass here in no time."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from taskforce.core.domain.runs.reply_times import ReplyTimes
from taskforce.core.interfaces.llm import (
    ChatMessage,
    ModelFailure,
    ModelRefused,
    ModelReply,
    ModelRequest,
    ModelUnavailable,
)
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.wild_llm import EVENTS, Wild, WildLLM, call, delta, document, finish, words
from tests.fixtures.wild_streams import BINARY, NOVA, anthropic, converse

TIMES = ReplyTimes(first_token_seconds=300, between_tokens_seconds=180, reply_seconds=1_800)
A_WHILE = 100.0
"""Seconds, within each of these times."""
COMMENT = b": keep-alive\n\n"
OPENAI, CLAUDE = "openai/stub", "anthropic/claude-sonnet-4-5"


class SkippedTime(asyncio.SelectorEventLoop):
    """An event loop whose time can be skipped."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped


def skip(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippedTime)
    loop.skipped += seconds


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def go() -> None:
        await test()

    with asyncio.Runner(loop_factory=SkippedTime) as runner:
        runner.run(go())


@dataclass
class Talk:
    """A model server and the product's transport; what the reader has heard is seen."""

    wild: WildLLM
    model: LiteLLMModel
    heard: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    telling: asyncio.Future[None] | None = None

    async def ask(self, *models: str, **times: ReplyTimes) -> ModelReply:
        named = models or (OPENAI,)
        limits = {name: times.get(f"time{place}", TIMES) for place, name in enumerate(named)}
        request = ModelRequest(named, (ChatMessage("user", "Go."),), times=limits)
        return await self.model.complete(request, self._hear)

    async def failure(self, *models: str, **times: ReplyTimes) -> ModelFailure:
        with pytest.raises(ModelFailure) as caught:
            await self.ask(*models, **times)
        return caught.value

    async def until_heard(self, pieces: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.heard >= pieces)

    async def slowly(self, pieces: Iterable[bytes], *, spoken: bool = True) -> AsyncIterator[bytes]:
        """Sends each piece once the one before was heard, and lets a while pass in between."""
        for number, piece in enumerate(pieces, 1):
            yield piece
            if spoken:
                await self.until_heard(number)
            else:
                await self.until_read()
            skip(A_WHILE)

    async def until_read(self) -> None:
        # Nobody tells when a piece without words was read: the loop runs until everything that is ready has run.
        for _ in range(50):
            await asyncio.sleep(0)

    async def silence(self, *pieces: bytes) -> AsyncIterator[bytes]:
        """Sends pieces, and nothing more until the client hangs up."""
        for piece in pieces:
            yield piece
        await self.until_read()
        while True:
            skip(1.0)
            # A write tells whether the client is still there.
            yield COMMENT
            await self.until_read()

    def _hear(self, _: str) -> None:
        self.heard += 1
        self.telling = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


@asynccontextmanager
async def talking(monkeypatch: pytest.MonkeyPatch, *, by_base: bool = False) -> AsyncIterator[Talk]:
    async with WildLLM() as wild:
        settings = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": wild.url, "ANTHROPIC_API_KEY": "x"}
        settings |= {"ANTHROPIC_API_BASE": wild.root, "ANTHROPIC_BASE_URL": wild.root}
        settings |= {"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION_NAME": "us-west-2"}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        model = LiteLLMModel(api_base=wild.root if by_base else None)
        await model.open()
        yield Talk(wild, model)
        await model.aclose()


def split(reply: Wild, spoken: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The pieces of a reply before, with and after words."""
    pieces = list(reply.pieces)
    places = [place for place, piece in enumerate(pieces) if spoken in piece]
    return pieces[: places[0]], pieces[places[0] : places[-1] + 1], pieces[places[-1] + 1 :]


TWELVE = ["word "] * 12


@pytest.mark.parametrize(
    ("model", "reply"),
    [
        (OPENAI, Wild([*[delta(content=one) for one in TWELVE], finish()])),
        (CLAUDE, anthropic(*TWELVE)),
        (NOVA, converse(*TWELVE)),
    ],
    ids=["wire", "LiteLLM", "Bedrock"],
)
def test_a_long_reply_is_heard_to_its_end_while_words_flow(
    monkeypatch: pytest.MonkeyPatch, model: str, reply: Wild
) -> None:
    async def test() -> None:
        async with talking(monkeypatch, by_base=model == NOVA) as talk:
            before, said, after = split(reply, b"word ")

            async def sent() -> AsyncIterator[bytes]:
                async for piece in talk.slowly(said):
                    yield piece
                for piece in after:
                    yield piece

            talk.wild.says(Wild(before, headers=BINARY if model == NOVA else EVENTS, then=sent()))
            assert (await talk.ask(model)).text == "word " * 12
            loop = asyncio.get_running_loop()
            assert isinstance(loop, SkippedTime)
            # Far beyond each of the two times that begin anew with a token.
            assert loop.skipped == 12 * A_WHILE

    run(test)


@pytest.mark.parametrize(
    "pieces",
    [
        [delta(reasoning_content="Hm. ")] * 6,
        [delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}])] * 6,
        [call(0, "calculator", '{"a": "', id="c"), *[call(0, None, "1")] * 4, call(0, None, '"}')],
    ],
    ids=["reasoning", "sealed reasoning", "a tool call"],
)
def test_what_is_no_text_is_a_token_all_the_same(monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    async def test() -> None:
        async with talking(monkeypatch) as talk:

            async def sent() -> AsyncIterator[bytes]:
                async for piece in talk.slowly(pieces, spoken=False):
                    yield piece
                yield delta(content="Done.") + finish()

            talk.wild.says(Wild([], then=sent()))
            assert (await talk.ask()).text == "Done."

    run(test)


@pytest.mark.parametrize(
    ("model", "pieces"),
    [(OPENAI, []), (OPENAI, [COMMENT]), (OPENAI, [delta(role="assistant", content="")]), (CLAUDE, [])],
    ids=["silence", "comments", "a role", "LiteLLM"],
)
def test_what_is_no_token_does_not_begin_a_reply(
    monkeypatch: pytest.MonkeyPatch, model: str, pieces: list[bytes]
) -> None:
    async def test() -> None:
        async with talking(monkeypatch) as talk:
            talk.wild.says(Wild([], then=talk.silence(*pieces)))
            failure = await talk.failure(model)
            assert isinstance(failure, ModelUnavailable)
            assert (failure.code, failure.details["limit"]) == ("model_timeout", "first_token_seconds")
            assert "first_token_seconds" in failure.message
            (made,) = failure.calls
            assert (made.failed, made.tokens.output) == ("model_timeout", 0)
            # We hung up, which the provider sees as it sees a cancellation: it charges for the prompt.
            assert (made.estimated, made.tokens.input > 0) == ("cut_off", True)
            await talk.wild.hung_up.wait()

    run(test)


@pytest.mark.parametrize(
    ("model", "before"),
    [(OPENAI, [delta(content="Well, ")]), (CLAUDE, list(anthropic("Well, ").pieces)[:3])],
    ids=["wire", "LiteLLM"],
)
def test_a_silence_within_a_reply_is_told_and_may_pass(
    monkeypatch: pytest.MonkeyPatch, model: str, before: list[bytes]
) -> None:
    async def test() -> None:
        async with talking(monkeypatch) as talk:
            talk.wild.says(Wild(before, then=talk.silence()))
            failure = await talk.failure(model)
            assert isinstance(failure, ModelUnavailable)
            assert (failure.code, failure.details["limit"]) == ("model_stalled", "between_tokens_seconds")
            assert failure.calls[0].tokens.output > 0
            assert failure.calls[0].estimated == "cut_off"
            await talk.wild.hung_up.wait()

    run(test)


def endless(talk: Talk) -> Wild:
    return Wild([], then=talk.slowly(delta(content="on and on ") for _ in range(10_000)))


def test_a_reply_without_an_end_is_refused_and_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with talking(monkeypatch) as talk:
            talk.wild.answer = lambda _: endless(talk)
            failure = await talk.failure()
            assert isinstance(failure, ModelRefused)
            assert (failure.code, failure.details["limit"]) == ("model_reply_too_slow", "reply_seconds")
            assert "max_reply_seconds" in failure.message
            assert (len(talk.wild.requests), len(failure.calls)) == (1, 1)
            assert failure.calls[0].tokens.output > 10

    run(test)


def test_another_model_is_asked_once_and_its_outage_does_not_ask_for_the_long_reply_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with talking(monkeypatch) as talk:
            refused = document({"error": {"message": "overloaded"}}, 503)
            replies = [endless(talk), words("Short.")]
            talk.wild.answer = lambda _: replies.pop(0)
            assert (await talk.ask("openai/slow", "openai/quick")).text == "Short."
            talk.heard = 0
            replies += [endless(talk), refused]
            failure = await talk.failure("openai/slow", "openai/quick")
            assert (failure.code, [one.failed for one in failure.calls]) == (
                "model_reply_too_slow",
                ["model_reply_too_slow", "model_unavailable"],
            )

    run(test)


def test_each_model_has_its_own_times(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with talking(monkeypatch) as talk:
            replies = [Wild([], then=talk.silence()), words("Here.")]
            talk.wild.answer = lambda _: replies.pop(0)
            hasty = ReplyTimes(first_token_seconds=2)
            reply = await talk.ask("openai/hasty", "openai/patient", time0=hasty)
            assert [one.failed for one in reply.calls] == ["model_timeout", None]

    run(test)


def test_of_a_model_that_does_not_stream_only_the_whole_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with talking(monkeypatch) as talk:
            choice = {"message": {"role": "assistant", "content": "Whole."}, "finish_reason": "stop"}
            content = {"choices": [choice]}
            talk.wild.says(document(content))
            assert (await talk.ask()).text == "Whole."

            async def late() -> AsyncIterator[bytes]:
                await talk.until_read()
                skip(2 * TIMES.first_token_seconds)
                await talk.until_read()
                yield json.dumps(content).encode()

            talk.wild.says(Wild([], headers={"content-type": "application/json"}, then=late()))
            assert (await talk.ask()).text == "Whole."
            talk.wild.says(Wild([], then=talk.silence()))
            assert (await talk.failure()).code == "model_reply_too_slow"

    run(test)


@pytest.mark.parametrize(
    ("model", "streams"),
    [(NOVA, True), ("bedrock/converse/ai21.jamba-1-5-large-v1:0", False), (OPENAI, True), ("offline/demo", True)],
)
async def test_litellm_tells_which_models_do_not_stream(model: str, streams: bool) -> None:
    transport = await LiteLLMModel().open()
    assert transport.endpoints.streams(model) is streams
