"""The closing turn of a run: a model call that offers no tools, so that the reply is an answer in text."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from taskforce.core.domain.runs.run import StopReason
from taskforce.core.interfaces.llm import (
    ChatMessage,
    ChatModel,
    ModelCall,
    ModelFailure,
    ModelInterrupted,
    ModelReply,
    ModelRequest,
)

_ANSWER_NOW = "Answer now, in words, as well as you can with what you have; say what is left undone.]"
CLOSING: Mapping[StopReason, str] = {
    StopReason.MAX_STEPS: f"[You have reached the limit of steps. {_ANSWER_NOW}",
    StopReason.REPEATED_CALLS: f"[You have made the same tool calls again and again. {_ANSWER_NOW}",
}
"""The user message that asks for the answer, by the reason why the run ends."""
NO_TOOLS = "[No tools are offered any more, and your last reply had no words. Answer in words.]"
NO_ANSWER: Mapping[StopReason, str] = {
    StopReason.MAX_STEPS: "[The steps of this run are used up, and the model has given no answer.]",
    StopReason.REPEATED_CALLS: "[The model repeated itself until the run was ended, and has given no answer.]",
}
"""The answer that is stored where the model gives none, by the reason why the run ends."""


async def answer_in_words(
    model: ChatModel, request: ModelRequest, on_text: Callable[[str], None], reason: StopReason
) -> ModelReply:
    """Requests an answer in text, a second time if the first reply has no text; the result always has some.

    Args:
        model: The client of the language models.
        request: The request; it offers no tools.
        on_text: Called with each piece of text as it is streamed.
        reason: Why the run ends.

    Returns:
        The reply with text; its `calls` are the model calls of both requests, for the usage records.

    Raises:
        ModelFailure: As `ChatModel.complete`, of the first request only.
        ModelInterrupted: The caller was cancelled meanwhile.
    """
    first = await model.complete(request, on_text)
    if first.text.strip():
        return first
    more = replace(request, messages=(*request.messages, ChatMessage("user", NO_TOOLS)))
    try:
        second = await model.complete(more, on_text)
    except ModelFailure as failure:
        # The first reply is paid for, and the run ends here in any case: a placeholder is better than a failed run.
        return replace(first, text=NO_ANSWER[reason], calls=(*_unusable(first.calls), *failure.calls))
    except ModelInterrupted as gone:
        raise ModelInterrupted((*_unusable(first.calls), *gone.calls)) from None
    return replace(
        second,
        text=second.text if second.text.strip() else NO_ANSWER[reason],
        calls=(*_unusable(first.calls), *second.calls),
    )


def _unusable(calls: tuple[ModelCall, ...]) -> tuple[ModelCall, ...]:
    # Marked as failed, so that usage reports count their tokens but no useful reply.
    return tuple(replace(call, failed=call.failed or "model_reply_invalid") for call in calls)
