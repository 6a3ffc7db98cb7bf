"""The request to the model of a step, and what the step has read for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from taskforce.application.metering.budget_ledgers import Reservation
from taskforce.application.runs.closing_turn import CLOSING
from taskforce.application.runs.conversation_window import Window
from taskforce.application.runs.model_turn import ModelStepInput
from taskforce.core.domain.metering.budget_ledgers import Draw
from taskforce.core.domain.runs.repetition import needs_hint
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.runs.transcript import Entry, conversation
from taskforce.core.interfaces.llm import ChatMessage, ModelRequest
from taskforce.core.interfaces.tools import ToolSpec

REPEATED = (
    "[You have now made the same tool calls {count} times in a row, with the same results. Do something else, or "
    "answer with what you have; after {most} times the run ends.]"
)
BUDGET_LOW = (
    "[The budget of this run is nearly used up: of {limit} there are about {left} left. Do what matters most first, "
    "and answer as soon as you can.]"
)


@dataclass(frozen=True, slots=True)
class StepContext:
    """Holds what a step reads before it calls the model, or the reply that is stored already.

    Attributes:
        turn: The step.
        window: The conversation as far as it is sent.
        heard: The messages of people that the step hears.
        offered: The tools that are offered.
        repeated: How many steps in a row have made the same tool calls.
        known: The stored reply, if any.
        unknown: How many ids of messages nobody has stored.
        draws: The ledgers of budgets that the run draws on.
    """

    turn: ModelStepInput
    window: Window
    heard: Sequence[Entry] = ()
    offered: tuple[ToolSpec, ...] = ()
    repeated: int = 0
    known: Entry | None = None
    unknown: int = 0
    draws: tuple[Draw, ...] = ()


def model_request(spec: RunSpec, context: StepContext) -> ModelRequest:
    """Builds the request of a step.

    Args:
        spec: The run.
        context: What the step has read.
    """
    agent = spec.agent
    return ModelRequest(
        models=agent.models,
        messages=_messages(spec, context),
        tools=context.offered,
        temperature=agent.temperature,
        max_tokens=agent.max_reply_tokens,
        times=agent.reply_times,
    )


def told_of_budget(request: ModelRequest, held: Reservation) -> ModelRequest:
    """Adds to a request what is left of a budget that is nearly used up.

    Args:
        request: The request.
        held: What the call has reserved on budgets.
    """
    ledger = held.nearly_used_up
    if ledger is None:
        return request
    # At the end, for what stands before the conversation must not change, or no provider finds it in its cache.
    left = BUDGET_LOW.format(left=ledger.budget.shown(ledger.left), limit=ledger.budget.shown(ledger.limit))
    return replace(request, messages=(*request.messages, ChatMessage("user", left)))


def _messages(spec: RunSpec, context: StepContext) -> tuple[ChatMessage, ...]:
    window, most = context.window, spec.agent.loop.max_repeated_steps
    messages = conversation(spec.agent.system_prompt, window.earlier, [*window.entries, *context.heard])
    if context.turn.closing:
        return (*messages, ChatMessage("user", CLOSING[context.turn.closed_by]))
    if needs_hint(context.repeated, most):
        return (*messages, ChatMessage("user", REPEATED.format(count=context.repeated, most=most)))
    return messages
