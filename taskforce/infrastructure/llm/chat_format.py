"""Rendering of the conversation in the OpenAI chat vocabulary, as providers take it."""

import json
from collections.abc import Collection, Iterable

from taskforce.core.interfaces.llm import ChatMessage, Reasoning, RequestedCall
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm.tool_names import WireIds, wire_name

NO_REASONING = "(The reasoning of this turn is not recorded.)"


def wire_messages(
    messages: Iterable[ChatMessage],
    *,
    offered: Collection[str] = (),
    model: str = "",
    refused: Collection[str] = (),
    fill_reasoning: bool = False,
) -> list[dict[str, object]]:
    """Renders messages, with clean names and ids of calls: strict providers refuse a conversation for one bad name.

    Args:
        messages: The conversation, oldest first.
        offered: Names of the tools on offer, which a name that is not clean may mean.
        model: The model that is asked; it is sent the reasoning that is its own, and no other's.
        refused: Fields of reasoning that it refuses.
        fill_reasoning: Whether it wants to see reasoning with each reply, also where there is none.

    Returns:
        What `litellm.acompletion` and chat completions endpoints take as `messages`.
    """
    ids = WireIds()
    rendered = []
    for message in messages:
        one = _message(message, ids, offered)
        if message.role == "assistant":
            one |= _reasoning(message.reasoning, model, refused, fill=fill_reasoning)
        rendered.append(one)
    return rendered


def _message(message: ChatMessage, ids: WireIds, offered: Collection[str]) -> dict[str, object]:
    rendered: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        rendered["content"] = message.content or None
        given = ids.of_calls(message.tool_calls)
        rendered["tool_calls"] = [
            _call(call, name, offered) for call, name in zip(message.tool_calls, given, strict=True)
        ]
    if message.tool_call_id is not None:
        rendered["tool_call_id"] = ids.of_observation(message)
    return rendered


def _reasoning(reasoning: Reasoning | None, model: str, refused: Collection[str], *, fill: bool) -> dict[str, object]:
    if reasoning is not None and reasoning.model == model and reasoning.field not in refused:
        return {reasoning.field: reasoning.text}
    return {"reasoning_content": NO_REASONING} if fill and "reasoning_content" not in refused else {}


def _call(call: RequestedCall, given: str, offered: Collection[str]) -> dict[str, object]:
    function = {"name": wire_name(call.name, offered), "arguments": _object_text(call)}
    return {"id": given, "type": "function", "function": function}


def _object_text(call: RequestedCall) -> str:
    """Returns arguments as the text of a JSON object, without which some of LiteLLM's providers fail the request."""
    if not call.arguments.strip():
        return "{}"
    if parsed_object(call.arguments) is not None:
        return call.arguments
    return json.dumps({"malformed_arguments": call.arguments})


def parsed_object(text: str) -> dict[str, object] | None:
    """Parses a JSON object.

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
