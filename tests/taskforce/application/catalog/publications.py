"""Versions on their way to publication."""

from taskforce.core.domain.catalog.version import AgentVersion
from tests.taskforce.application.scenario import Stage


async def version(stage: Stage) -> AgentVersion:
    async with stage.database.tenant(stage.tenant_id) as records:
        agent = await records.catalog.get("counter")
    assert agent is not None
    return agent.version("0.1.0")
