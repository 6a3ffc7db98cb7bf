"""Attributes of the conventions for generative AI; content only where it is asked for."""

import json

import pytest

from taskforce.core.domain.gen_ai import (
    TEXT_SHOWN,
    chat,
    conversation_content,
    provider_of,
    reply_content,
    tool_content,
)
from taskforce.core.interfaces.llm import ChatMessage, ModelRequest, RequestedCall

CALL = RequestedCall("c1", "pay", '{"to": "secret"}')


def clean(text: str) -> str:
    return text.replace("secret", "***")


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("openai/gpt-4o", "openai"),
        ("gpt-4o", "openai"),
        ("azure/mine", "azure.ai.openai"),
        ("bedrock/anthropic.claude", "aws.bedrock"),
        ("anthropic/claude", "anthropic"),
        ("of-somebody/else", "of-somebody"),
    ],
)
def test_providers_have_the_conventions_names(model: str, provider: str) -> None:
    assert provider_of(model) == provider


def test_a_call_says_what_was_asked_for_and_nothing_that_was_said() -> None:
    request = ModelRequest(("openai/gpt-4o",), (ChatMessage("user", "canary"),), temperature=0.5, max_tokens=7)
    start = chat("openai/gpt-4o", request)
    assert (start.name, start.kind) == ("chat gpt-4o", "client")
    assert dict(start.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 7,
    }


def test_a_conversation_has_the_conventions_form_without_secrets() -> None:
    messages = (
        ChatMessage("system", "Be kind."),
        ChatMessage("user", "my secret"),
        ChatMessage("assistant", "", (CALL,)),
        ChatMessage("tool", "paid", tool_call_id="c1"),
    )
    content = conversation_content(messages, clean)
    assert json.loads(str(content["gen_ai.system_instructions"])) == [{"type": "text", "content": "Be kind."}]
    assert json.loads(str(content["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "text", "content": "my ***"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "pay", "arguments": '{"to": "***"}'}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "result": "paid"}]},
    ]


def test_replies_and_tools_too() -> None:
    [message] = json.loads(str(reply_content("a secret", (CALL,), "stop", clean)["gen_ai.output.messages"]))
    assert (message["role"], message["finish_reason"], message["parts"][0]["content"]) == (
        "assistant",
        "tool_call",
        "a ***",
    )
    assert tool_content("arguments", {"to": "secret"}, clean) == {"gen_ai.tool.call.arguments": '{"to": "***"}'}
    assert tool_content("result", "x" * (TEXT_SHOWN + 1), clean) == {"gen_ai.tool.call.result": "x" * TEXT_SHOWN}
