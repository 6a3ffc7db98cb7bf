"""The conversation as LiteLLM takes it: dictionaries in the OpenAI chat vocabulary."""

import json
from collections.abc import Iterable, Sequence

from taskforce.core.interfaces.llm import ChatMessage, RequestedCall
from taskforce.core.interfaces.tools import ToolSpec

CHARACTERS_PER_TOKEN = 4


def wire_messages(messages: Iterable[ChatMessage]) -> list[dict[str, object]]:
    """Renders messages.

    Args:
        messages: The conversation, oldest first.

    Returns:
        What `litellm.acompletion` takes as `messages`.
    """
    return [_message(message) for message in messages]


def _message(message: ChatMessage) -> dict[str, object]:
    rendered: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        rendered["content"] = message.content or None
        rendered["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        rendered["tool_call_id"] = message.tool_call_id
    return rendered


def _call(call: RequestedCall) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _object_text(call)}}


def _object_text(call: RequestedCall) -> str:
    """Some of LiteLLM's providers parse earlier arguments and fail the request when they are no JSON object."""
    if not call.arguments.strip():
        return "{}"
    if parsed_object(call.arguments) is not None:
        return call.arguments
    return json.dumps({"malformed_arguments": call.arguments})


def parsed_object(text: str) -> dict[str, object] | None:
    """Reads a JSON object.

    Args:
        text: What a model wrote as arguments.

    Returns:
        The object, or None when the text is not one.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def wire_tools(tools: Iterable[ToolSpec]) -> list[dict[str, object]]:
    """Renders the tools on offer.

    Args:
        tools: Their specifications.

    Returns:
        What `litellm.acompletion` takes as `tools`.
    """
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in tools
    ]


def estimate_tokens(*texts: str) -> int:
    """Guesses a number of tokens where a provider does not count them: four characters make one."""
    return -(-sum(len(text) for text in texts) // CHARACTERS_PER_TOKEN)


def estimate_input(messages: Sequence[ChatMessage], tools: Sequence[ToolSpec]) -> int:
    """Guesses the tokens of a request.

    Args:
        messages: The conversation.
        tools: The tools on offer; their schemas are part of the prompt.

    Returns:
        Tokens.
    """
    said = [message.content for message in messages]
    asked = [call.name + call.arguments for message in messages for call in message.tool_calls]
    offered = [json.dumps(tool) for tool in wire_tools(tools)]
    return estimate_tokens(*said, *asked, *offered)
