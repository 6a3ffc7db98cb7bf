"""The answer of a tool call's question, as the rows of people's messages show it."""

from collections.abc import Sequence
from datetime import datetime

from taskforce.application.runs.tool_calls import CallRef
from taskforce.core.domain.runs.questions import question_id
from taskforce.core.interfaces.store import Records


async def answer_to(
    records: Records, ref: CallRef, sent: Sequence[str], asked_at: datetime, *, by_row: bool
) -> tuple[str, ...]:
    """Returns the ids of the stored messages that answer a call's question; none where nobody has answered it.

    The gateway stores with a message which question it answers, so an id that was signalled past it answers nothing.
    Gateways from before 2026-12 store no question: of their messages the signalled one counts, unless it was stored
    before the question was asked.

    Args:
        records: The tenant's records.
        ref: The call that asks.
        sent: The ids that were sent as its answer.
        asked_at: When the model asked, UTC.
        by_row: Whether the row alone decides. Otherwise, for runs from before 2026-12, all of `sent` count that answer
            no other question, whenever they were stored.
    """
    named = (await records.messages.answers(ref.run_id)).get(question_id(ref.step, ref.call))
    if named is not None and (by_row or named in sent):
        return (named,)
    if not sent:
        return ()
    unnamed = await records.messages.unnamed(ref.run_id, sent, asked_at if by_row else None)
    return tuple(unnamed[:1] if by_row else unnamed)
