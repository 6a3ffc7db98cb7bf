"""The protocol of the deployment's own agents, and of its defaults for agents of the catalog."""

from typing import Protocol

from taskforce.core.domain.runs.selection import AgentSelector, ResolvedVersion, SelectedAgent


class AgentSource(Protocol):
    """The agents of the deployment's profiles."""

    def choose(self, selector: AgentSelector) -> SelectedAgent:
        """Resolves an agent of the deployment and pins its definition for a run.

        Raises:
            Missing: `agent_not_found` or `profile_not_found`.
            Invalid: `limit_exceeds_agent`, `profile_invalid`, `model_name_invalid` or `model_not_offered`.
        """
        ...

    def pinned(self, selector: AgentSelector, found: ResolvedVersion) -> SelectedAgent:
        """Completes a catalog version with the deployment's defaults and pins it for a run.

        Raises:
            Invalid: `limit_exceeds_agent`; `model_pinned` when a model other than the version's is requested;
                `profile_invalid`, `model_name_invalid` or `model_not_offered`.
        """
        ...

    def agent_id(self, agent_id: str | None, profile: str | None) -> str | None:
        """Returns the id of the agent named by id, by profile, or by neither (the default); None when there is none."""
        ...

    def knows(self, agent_id: str) -> bool:
        """Tells whether an agent of the deployment has this id; it takes precedence over one of the catalog."""
        ...
