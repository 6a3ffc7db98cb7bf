"""The activity that asks the model, and checks what it asks for."""

from temporalio import activity

from activities.tools import permits
from models.messages.runs import ModelOutcome, ModelTurn
from taskforce.application.runs.model_step import ModelStep, ModelStepInput


class ModelActivities:
    """One turn of the model.

    Args:
        model_step: The use case.
    """

    def __init__(self, model_step: ModelStep) -> None:
        self._model_step = model_step

    @activity.defn(name="call_model")
    async def call_model(self, turn: ModelTurn) -> ModelOutcome:
        """Asks the model for a step; its reply is a row, only counts and the permits of its calls come back."""
        asked = ModelStepInput(
            tenant_id=turn.tenant_id,
            run_id=turn.run_id,
            step=turn.step,
            attempt=activity.info().attempt,
            words=turn.words,
            closing=turn.closing,
            told=turn.told,
        )
        thought = await self._model_step.run(asked)
        if thought.ended:
            return ModelOutcome(calls=0, tokens=thought.tokens, ended=True)
        if not thought.calls:
            return ModelOutcome(calls=0, tokens=thought.tokens)
        if thought.allowed is None:
            return ModelOutcome(calls=thought.calls, tokens=thought.tokens)
        return ModelOutcome(calls=thought.calls, tokens=thought.tokens, permits=permits(thought.allowed))
