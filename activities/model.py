"""The activity that asks the model, and checks what it asks for."""

from temporalio import activity

from activities.tools import permits
from models.messages.runs import ModelOutcome, ModelTurn
from taskforce.application.runs.model_step import Thinking, Turn


class ModelActivities:
    """One turn of the model.

    Args:
        thinking: The use case.
    """

    def __init__(self, thinking: Thinking) -> None:
        self._thinking = thinking

    @activity.defn(name="call_model")
    async def call_model(self, turn: ModelTurn) -> ModelOutcome:
        """Asks the model for a step; its reply is a row, only counts and the permits of its calls come back."""
        asked = Turn(
            tenant_id=turn.tenant_id,
            run_id=turn.run_id,
            step=turn.step,
            attempt=activity.info().attempt,
            words=turn.words,
            closing=turn.closing,
            told=turn.told,
        )
        thought = await self._thinking.think(asked)
        if thought.ended:
            return ModelOutcome(calls=0, tokens=thought.tokens, ended=True)
        if not thought.calls:
            return ModelOutcome(calls=0, tokens=thought.tokens)
        if thought.allowed is None:
            return ModelOutcome(calls=thought.calls, tokens=thought.tokens)
        return ModelOutcome(calls=thought.calls, tokens=thought.tokens, permits=permits(thought.allowed))
