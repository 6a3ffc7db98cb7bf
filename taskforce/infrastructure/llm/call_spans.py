"""Spans of calls to models."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from taskforce.core.domain.gen_ai import answered, chat, conversation_content, reply_content
from taskforce.core.interfaces.llm import ChatMessage, ModelCall, ModelRequest
from taskforce.core.interfaces.tracing import Tracer
from taskforce.infrastructure.llm.reply_stream import ReplyStream

CANCELLED = "cancelled"


@contextmanager
def traced_call(
    tracer: Tracer,
    model: str,
    request: ModelRequest,
    reply: ReplyStream,
    calls: Sequence[ModelCall],
    *,
    messages: Sequence[ChatMessage],
) -> Iterator[None]:
    """Traces one call to a model.

    Args:
        tracer: The process's tracer.
        model: LiteLLM name of the model.
        request: The request.
        reply: The reply, once it has come.
        calls: The recorded calls; the last one is this, when the block ends.
        messages: The messages as they are sent.
    """
    # Not the call by which a worker prepares itself.
    if not tracer.recording:
        yield
        return
    with tracer.span(chat(model, request)) as span:
        if tracer.content:
            span.set(conversation_content(messages, tracer.harmless))
        try:
            yield
        finally:
            call = calls[-1]
            span.set(answered(call, reply.finish))
            if call.failed and call.failed != CANCELLED:
                span.fail(call.failed)
            if tracer.content:
                span.set(reply_content(reply.text, reply.tool_calls, reply.finish, tracer.harmless))
