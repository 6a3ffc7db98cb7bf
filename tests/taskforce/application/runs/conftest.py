"""Model steps, whose model follows a script."""

import os
from collections.abc import AsyncIterator

import pytest

from taskforce.application.runs.model_step import ModelStep
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.taskforce.application.scenario import Stage


@pytest.fixture(scope="session")
async def model(scripted: ScriptedLLM) -> AsyncIterator[LiteLLMModel]:
    """One door for all tests, as a worker has one."""
    os.environ["OPENAI_API_KEY"] = "sk-test-0123456789abcdef0123456789abcdef"
    door = LiteLLMModel(api_base=scripted.url)
    # Importing LiteLLM takes seconds that no test shall wait for.
    await door.prepare()
    yield door
    await door.aclose()


@pytest.fixture
def model_step(stage: Stage, model: LiteLLMModel, scripted: ScriptedLLM) -> ModelStep:
    scripted.requests.clear()
    return stage.model_step(model)
