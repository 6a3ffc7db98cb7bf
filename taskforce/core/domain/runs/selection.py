"""Which agent a run is to have: what is asked for, which version that means, and what was chosen."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.catalog.definition import Instructions
from taskforce.core.domain.runs.loop_limits import LoopLimits
from taskforce.core.domain.runs.run import AgentDefinition, Limits, Pinned


@dataclass(frozen=True, slots=True)
class AgentSelector:
    """What a request says about the agent; None leaves it to the profile.

    Attributes:
        agent_id: The agent, by its id or, one of the catalog, by its slug.
        version: The number of a version of the catalog's.
        alias: The name of a version of the catalog's; without both it is the current one.
        profile: The agent, by its profile.
        model: LiteLLM names, separated by commas.
        max_steps, max_tokens, max_seconds: Limits, at most those of the agent.
    """

    agent_id: str | None = None
    version: str | None = None
    alias: str | None = None
    profile: str | None = None
    model: str | None = None
    max_steps: int | None = None
    max_tokens: int | None = None
    max_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class SelectedAgent:
    """The agent as the run will keep it; `deprecated_at` tells the caller to move on to another version."""

    profile: str
    agent: AgentDefinition
    limits: Limits
    deprecated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class VersionSelector:
    """An agent of the catalog as a caller names it.

    Attributes:
        name: Its id or its slug.
        number: The number of a version.
        alias: The name of a version; without both it is the current one.
    """

    name: str
    number: str | None = None
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """A version that may be started.

    Attributes:
        agent_id: Its agent.
        name: For people.
        pinned: Which version.
        instructions: What it says.
        deprecated_at: Since when the caller should move on to another one, if so.
    """

    agent_id: str
    name: str
    pinned: Pinned
    instructions: Instructions
    deprecated_at: datetime | None = None

    def definition(self, models: tuple[str, ...], approval: Terms, loop: LoopLimits) -> AgentDefinition:
        """The agent that a run begins with.

        Args:
            models: LiteLLM names, the preferred first.
            approval: The terms under which its calls are approved.
            loop: Bounds of its runs' loop, where the version sets none.
        """
        says = self.instructions
        return AgentDefinition(
            agent_id=self.agent_id,
            name=self.name,
            system_prompt=says.system_prompt,
            tools=says.tools,
            models=models,
            temperature=says.temperature,
            max_reply_tokens=says.max_reply_tokens,
            require_approval=says.require_approval,
            approval_roles=says.approval_roles,
            approval=approval,
            pinned=self.pinned,
            loop=loop.changed(says.loop),
        )
