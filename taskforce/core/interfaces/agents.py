"""Where the agents come from that a deployment brings along, and what it adds to those of the catalog."""

from typing import Protocol

from taskforce.core.domain.runs.selection import AgentSelector, ResolvedVersion, SelectedAgent


class AgentSource(Protocol):
    """The deployment's own agents."""

    def choose(self, asked: AgentSelector) -> SelectedAgent:
        """Resolves and pins an agent of the deployment's.

        Raises:
            Missing: `agent_not_found` or `profile_not_found`.
            Invalid: `limit_exceeds_agent`, `profile_invalid`, `model_name_invalid` or `model_not_offered`.
        """
        ...

    def pinned(self, asked: AgentSelector, found: ResolvedVersion) -> SelectedAgent:
        """Completes a version of the catalog by what it leaves open and the deployment says.

        Raises:
            Invalid: `limit_exceeds_agent`; `model_pinned` when another model is asked for than the version names;
                `profile_invalid`, `model_name_invalid` or `model_not_offered`.
        """
        ...

    def agent_id(self, agent_id: str | None, profile: str | None) -> str | None:
        """Finds the id of the agent that is named by its id, by its profile, or not at all; None for none."""
        ...

    def knows(self, agent_id: str) -> bool:
        """Tells whether an agent of the deployment's has this id; it goes before one of the catalog's."""
        ...
