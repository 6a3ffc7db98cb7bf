"""Imported once by the process that workers are forked from: importing LiteLLM in each would take seconds."""

import asyncio

import tests.chaos.deployment  # noqa: F401 - for what it imports
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel


async def _prepare() -> None:
    model = LiteLLMModel()
    await model.prepare()
    await model.aclose()


asyncio.run(_prepare())
