"""Spans of agents, model calls and tools by OpenTelemetry's semantic conventions for generative AI.

Source: https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai), as of 2026-11. All `gen_ai.*` names
of the product stand here. Conversations, arguments and results are recorded only where a deployment asks for it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.traces import RUN, TENANT, USER
from taskforce.core.interfaces.llm import ChatMessage, ModelCall, ModelRequest, RequestedCall
from taskforce.core.interfaces.tools import ToolContext, ToolSpec
from taskforce.core.interfaces.tracing import Attribute, Attributes, SpanKind, SpanStart

TEXT_SHOWN = 20_000
"""Characters of one text that a span holds at most, where content is recorded."""

_OPERATION = "gen_ai.operation.name"
_PROVIDER = "gen_ai.provider.name"
_MODEL = "gen_ai.request.model"
_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Names of the conventions for LiteLLM's providers; the others have the same name in both."""

Clean = Callable[[str], str]
"""Redacts secrets in a text."""


def provider_of(model: str) -> str:
    """Returns the name that the conventions give the provider of a model.

    Args:
        model: LiteLLM name, `provider/model`; without a provider LiteLLM takes it for one of OpenAI's.
    """
    provider, slash, _ = model.partition("/")
    return _PROVIDERS.get(provider, provider) if slash else "openai"


def agent_invoked(spec: RunSpec) -> SpanStart:
    """Returns the span of a run's start, `invoke_agent`; what the run does follows from it, for days if need be.

    Args:
        spec: The run.
    """
    agent = spec.agent
    attributes: dict[str, Attribute] = {
        _OPERATION: "invoke_agent",
        "gen_ai.agent.id": agent.agent_id,
        "gen_ai.agent.name": agent.name,
        "gen_ai.conversation.id": spec.session_id,
        TENANT: spec.tenant_id,
        RUN: spec.run_id,
        USER: spec.user_id,
        **_requested(agent.models),
    }
    if agent.pinned is not None:
        attributes["gen_ai.agent.version"] = agent.pinned.version_number
    return SpanStart(f"invoke_agent {agent.name}", SpanKind.PRODUCER, attributes)


def chat(model: str, request: ModelRequest) -> SpanStart:
    """Returns the span of one call to a model.

    Args:
        model: LiteLLM name of the model.
        request: The request.
    """
    attributes: dict[str, Attribute] = {_OPERATION: "chat", "gen_ai.request.stream": True, **_requested((model,))}
    if request.temperature is not None:
        attributes["gen_ai.request.temperature"] = request.temperature
    if request.max_tokens is not None:
        attributes["gen_ai.request.max_tokens"] = request.max_tokens
    return SpanStart(f"chat {attributes[_MODEL]}", SpanKind.CLIENT, attributes)


def answered(call: ModelCall, finish: str) -> Attributes:
    """Returns what is known once a call to a model has ended.

    Args:
        call: The call, as its usage is recorded.
        finish: Why the reply ended.
    """
    ended: dict[str, Attribute] = {} if call.failed else {"gen_ai.response.finish_reasons": (finish,)}
    return {
        **ended,
        "gen_ai.usage.input_tokens": call.tokens.input,
        "gen_ai.usage.output_tokens": call.tokens.output,
        "gen_ai.usage.cache_read.input_tokens": call.tokens.cached,
    }


def tool_executed(name: str, spec: ToolSpec | None, context: ToolContext) -> SpanStart:
    """Returns the span of one attempt of a tool call.

    Args:
        name: The tool's name.
        spec: Its specification; None where it is unknown, and its name therefore the model's own words.
        context: The call's context.
    """
    known = name if spec is not None else "unknown"
    attributes: dict[str, Attribute] = {
        _OPERATION: "execute_tool",
        "gen_ai.tool.name": known,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": context.effect_key,
        TENANT: context.tenant_id,
        RUN: context.run_id,
    }
    return SpanStart(f"execute_tool {known}", SpanKind.INTERNAL, attributes)


def conversation_content(messages: Sequence[ChatMessage], clean: Clean) -> Attributes:
    """Returns the texts of a request, where a deployment records content.

    Args:
        messages: The messages as they are sent.
        clean: Redacts secrets.
    """
    said = [_message(one, clean) for one in messages if one.role != "system"]
    system = [_text(one.content, clean) for one in messages if one.role == "system"]
    instructions: dict[str, Attribute] = {"gen_ai.system_instructions": _json(system)} if system else {}
    return {**instructions, "gen_ai.input.messages": _json(said)}


def reply_content(text: str, calls: Sequence[RequestedCall], finish: str, clean: Clean) -> Attributes:
    """Returns the texts of a reply, where a deployment records content.

    Args:
        text: The reply's text.
        calls: The requested tool calls.
        finish: Why it ended.
        clean: Redacts secrets.
    """
    message = {**_parts("assistant", text, calls, clean), "finish_reason": "tool_call" if calls else finish}
    return {"gen_ai.output.messages": _json([message])}


def tool_content(part: Literal["arguments", "result"], value: object, clean: Clean) -> Attributes:
    """Returns the arguments or the result of a tool call, where a deployment records content.

    Args:
        part: Which of them.
        value: The arguments or the result, as JSON.
        clean: Redacts secrets.
    """
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return {f"gen_ai.tool.call.{part}": _cut(shown, clean)}


def _requested(models: Sequence[str]) -> Mapping[str, Attribute]:
    if not models:
        return {}
    return {_PROVIDER: provider_of(models[0]), _MODEL: models[0].partition("/")[2] or models[0]}


def _message(message: ChatMessage, clean: Clean) -> Mapping[str, object]:
    if message.role == "tool":
        answer = {
            "type": "tool_call_response",
            "id": message.tool_call_id or "",
            "result": _cut(message.content, clean),
        }
        return {"role": "tool", "parts": [answer]}
    return _parts(message.role, message.content, message.tool_calls, clean)


def _parts(role: str, text: str, calls: Sequence[RequestedCall], clean: Clean) -> Mapping[str, object]:
    return {"role": role, "parts": list(_each_part(text, calls, clean))}


def _each_part(text: str, calls: Sequence[RequestedCall], clean: Clean) -> Iterator[Mapping[str, object]]:
    if text:
        yield _text(text, clean)
    for call in calls:
        yield {"type": "tool_call", "id": call.id, "name": call.name, "arguments": _cut(call.arguments, clean)}


def _text(text: str, clean: Clean) -> Mapping[str, object]:
    return {"type": "text", "content": _cut(text, clean)}


def _cut(text: str, clean: Clean) -> str:
    return clean(text[:TEXT_SHOWN])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
