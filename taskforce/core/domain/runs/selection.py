"""Selection of a run's agent: the request's selector, the resolved catalog version, and the selected agent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.catalog.definition import Instructions
from taskforce.core.domain.runs.loop_limits import LoopLimits
from taskforce.core.domain.runs.reply_times import ReplyTimes
from taskforce.core.domain.runs.run import AgentDefinition, Limits, Pinned


@dataclass(frozen=True, slots=True)
class AgentSelector:
    """The agent that a request selects; None leaves a field to the profile.

    Attributes:
        agent_id: Id of the agent or, for one of the catalog, its slug.
        version: Number of a catalog version.
        alias: Alias of a catalog version; without number and alias the current version is selected.
        profile: Name of the profile whose agent is selected.
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
    """The agent that the run will keep; `deprecated_at` is set when its version is deprecated."""

    profile: str
    agent: AgentDefinition
    limits: Limits
    deprecated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class VersionSelector:
    """A catalog version as a caller names it.

    Attributes:
        name: Id or slug of the agent.
        number: Number of the version.
        alias: Alias of the version; without number and alias the current version is meant.
    """

    name: str
    number: str | None = None
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """A catalog version that may be started.

    Attributes:
        agent_id: The version's agent.
        name: Display name.
        pinned: The version.
        instructions: The parsed definition of the version.
        deprecated_at: Time of its deprecation, UTC; None when it is not deprecated.
    """

    agent_id: str
    name: str
    pinned: Pinned
    instructions: Instructions
    deprecated_at: datetime | None = None

    def definition(
        self, models: tuple[str, ...], approval: Terms, loop: LoopLimits, times: Mapping[str, ReplyTimes]
    ) -> AgentDefinition:
        """Returns the agent definition that a run is started with.

        Args:
            models: LiteLLM names, the preferred first.
            approval: The terms of requests for approval of its calls.
            loop: Limits of the loop where the version sets none.
            times: Time limits of a reply by model, those that the version sets among them.
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
            reply_times=times,
            attribution=says.attribution,
        )
