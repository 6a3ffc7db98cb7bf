"""The activity that asks the model, and checks what it asks for."""

from typing import Any

from temporalio import activity

from activities.tools import permits
from models.messages.runs import ModelOutcome, ModelTurn
from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.model_turn import ModelStepInput, ModelStepResult


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
            attempt=turn.tried + activity.info().attempt,
            words=turn.words,
            closing=turn.closing,
            told=turn.told,
        )
        return _outcome(await self._model_step.run(asked))


def _outcome(thought: ModelStepResult) -> ModelOutcome:
    # What says nothing is left unset, and so stays out of the history.
    more: dict[str, Any] = {"ended": True} if thought.ended else {}
    if thought.calls and thought.allowed is not None:
        more["permits"] = permits(thought.allowed)
    if thought.stop_reason is not None:
        more["stop_reason"] = thought.stop_reason.value
    return ModelOutcome(calls=thought.calls, tokens=thought.tokens, **more)
