"""The activity of a model step: it calls the model and authorizes the requested tool calls."""

from typing import Any

from temporalio import activity

from activities.runs.tools import permits
from activities.work import worked_ms
from models.messages.runs import ModelOutcome, ModelTurn
from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.model_turn import ModelStepInput, ModelStepResult


class ModelActivities:
    """The activity of a model step.

    Args:
        model_step: The use case of a model step.
    """

    def __init__(self, model_step: ModelStep) -> None:
        self._model_step = model_step

    @activity.defn(name="call_model")
    async def call_model(self, turn: ModelTurn) -> ModelOutcome:
        """Runs a model step; the reply is stored as a row, and only counts and permits enter the history."""
        asked = ModelStepInput(
            tenant_id=turn.tenant_id,
            run_id=turn.run_id,
            step=turn.step,
            # Retries of the run and of the server count together: usage is recorded once for each attempt.
            attempt=turn.tried + activity.info().attempt,
            words=turn.words,
            closing=turn.closing,
            told=turn.told,
        )
        return _outcome(await self._model_step.run(asked))


def _outcome(thought: ModelStepResult) -> ModelOutcome:
    # Unset fields are not serialized: defaults stay out of the history.
    more: dict[str, Any] = {"worked_ms": worked_ms()}
    if thought.ended:
        more["ended"] = True
    if thought.calls and thought.allowed is not None:
        more["permits"] = permits(thought.allowed)
    if thought.stop_reason is not None:
        more["stop_reason"] = thought.stop_reason.value
    if thought.unknown:
        more["unknown"] = thought.unknown
    return ModelOutcome(calls=thought.calls, tokens=thought.tokens, **more)
