"""Through LiteLLM to a server that is not ours."""

import json

import pytest

from taskforce.core.interfaces.llm import ChatMessage, ModelRequest
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel

CALCULATOR = ToolSpec(
    "calculator",
    "Computes.",
    {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
)


@pytest.fixture(autouse=True)
def _speaks_to_fakellm(fakellm_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", fakellm_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")


async def test_words_arrive_in_pieces(model: LiteLLMModel) -> None:
    pieces: list[str] = []
    request = ModelRequest(("openai/fake",), (ChatMessage("user", "Say hello"),))
    reply = await model.complete(request, pieces.append)
    assert reply.text == "".join(pieces) == "Hello to you as well."
    assert len(pieces) > 1


async def test_tokens_are_estimated_when_the_provider_does_not_count(model: LiteLLMModel) -> None:
    request = ModelRequest(("openai/fake",), (ChatMessage("user", "hello, " * 40),))
    (call,) = (await model.complete(request, lambda _: None)).calls
    assert call.tokens.input == 81
    assert call.tokens.output == 6


async def test_a_conversation_with_parallel_tool_calls(model: LiteLLMModel) -> None:
    messages = [ChatMessage("system", "Be brief."), ChatMessage("user", "Do two sums")]
    first = await model.complete(ModelRequest(("openai/fake",), tuple(messages), (CALCULATOR,)), lambda _: None)
    assert [json.loads(call.arguments) for call in first.tool_calls] == [
        {"expression": "1 + 1"},
        {"expression": "2 + 2"},
    ]
    assert len({call.id for call in first.tool_calls}) == 2
    messages.append(ChatMessage("assistant", first.text, first.tool_calls))
    messages += [ChatMessage("tool", "2", tool_call_id=call.id) for call in first.tool_calls]
    second = await model.complete(ModelRequest(("openai/fake",), tuple(messages), (CALCULATOR,)), lambda _: None)
    assert second.text == "They are 2 and 4."
    assert second.tool_calls == ()
