"""The turn in which no tools are offered any more: the model shall answer in words with what it has."""

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
"""What the model is told, by why the run ends."""
NO_TOOLS = "[No tools are offered any more, and your last reply had no words. Answer in words.]"
NO_ANSWER: Mapping[StopReason, str] = {
    StopReason.MAX_STEPS: "[The steps of this run are used up, and the model has given no answer.]",
    StopReason.REPEATED_CALLS: "[The model repeated itself until the run was ended, and has given no answer.]",
}
"""What stands for an answer where the model gives none."""


async def answer_in_words(
    model: ChatModel, request: ModelRequest, on_text: Callable[[str], None], reason: StopReason
) -> ModelReply:
    """Asks for an answer, once more where a reply has tool calls only; never returns one without words.

    Args:
        model: The door to the models.
        request: What to ask; it offers no tools.
        on_text: Called with each piece of text.
        reason: Why the run ends.

    Raises:
        ModelFailure: As `ChatModel.complete`, of the first request.
        ModelInterrupted: The caller was cancelled meanwhile.
    """
    first = await model.complete(request, on_text)
    if first.text.strip():
        return first
    more = replace(request, messages=(*request.messages, ChatMessage("user", NO_TOOLS)))
    try:
        second = await model.complete(more, on_text)
    except ModelFailure as failure:
        return replace(first, text=NO_ANSWER[reason], calls=(*_unusable(first.calls), *failure.calls))
    except ModelInterrupted as gone:
        raise ModelInterrupted((*_unusable(first.calls), *gone.calls)) from None
    return replace(
        second,
        text=second.text if second.text.strip() else NO_ANSWER[reason],
        calls=(*_unusable(first.calls), *second.calls),
    )


def _unusable(calls: tuple[ModelCall, ...]) -> tuple[ModelCall, ...]:
    return tuple(replace(call, failed=call.failed or "model_reply_invalid") for call in calls)
