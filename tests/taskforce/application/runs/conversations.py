"""What a scripted model was asked."""

from typing import Any

from tests.fixtures.scripted_llm import ScriptedLLM


def last_messages(scripted: ScriptedLLM) -> list[dict[str, Any]]:
    messages = scripted.requests[-1]["messages"]
    assert isinstance(messages, list)
    return messages
