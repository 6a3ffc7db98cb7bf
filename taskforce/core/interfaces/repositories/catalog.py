"""The repository of the catalog, within one transaction of one tenant."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.catalog.agent import Agent, Description
from taskforce.core.domain.catalog.version import AgentVersion, VersionStatus
from taskforce.core.domain.paging import Page


@dataclass(frozen=True, slots=True)
class AgentFilter:
    """The filter of a list of agents; None does not filter.

    Attributes:
        category: The category.
        tags: Agents with at least one of these tags; empty does not filter.
        status: Agents with a version in this status.
        owner_id: The responsible user.
    """

    category: str | None = None
    tags: frozenset[str] = frozenset()
    status: VersionStatus | None = None
    owner_id: str | None = None


@dataclass(frozen=True, slots=True)
class AgentSummary:
    """An agent in a list.

    Attributes:
        agent_id: The agent's id.
        about: The descriptive fields.
        current_number: Number of the current version; None without one.
        latest_number: The highest version number.
        latest_status: Status of that version.
        created_at: Time of creation, UTC.
        updated_at: Time of the last change, UTC.
        revision: Number of the revision.
        rank: Rank for a query; 0 in a list without one.
    """

    agent_id: str
    about: Description
    current_number: str | None
    latest_number: str
    latest_status: VersionStatus
    created_at: datetime
    updated_at: datetime
    revision: int
    rank: float = 0.0


@dataclass(frozen=True, slots=True)
class ResolvedAgent:
    """The agent and version that a name, with a number or alias, resolves to.

    Attributes:
        agent_id: The agent.
        about: The descriptive fields.
        version: The version; None when the agent has no such one.
    """

    agent_id: str
    about: Description
    version: AgentVersion | None


class Catalog(Protocol):
    """The repository of the tenant's agents. A `name` is an agent's id or its slug."""

    async def alone(self) -> int:
        """Locks the creation and renaming of agents for this transaction, and returns their number."""
        ...

    async def id_of(self, name: str) -> str | None:
        """Returns the id of an agent; None without one."""
        ...

    async def get(self, name: str) -> Agent | None:
        """Returns an agent with its versions; None without one."""
        ...

    async def locked(self, name: str) -> Agent | None:
        """Returns an agent with its versions and locks it for this transaction; call before `save`."""
        ...

    async def add(self, agent: Agent) -> None:
        """Adds an agent; call `alone` and check that its slug is free before."""
        ...

    async def save(self, agent: Agent, previous: Agent) -> None:
        """Stores the differences between two states of an agent."""
        ...

    async def remove(self, agent_id: str) -> None:
        """Removes an agent and its versions."""
        ...

    async def page(self, which: AgentFilter, page: Page) -> Sequence[AgentSummary]:
        """Returns a page of agents, newest first."""
        ...

    async def search(
        self, which: AgentFilter, question: str, most: int, after: tuple[float, str] | None
    ) -> Sequence[AgentSummary]:
        """Returns the agents that match a query, the best first, by the rules of
        `taskforce.core.domain.catalog.search`.

        Args:
            which: The filter.
            question: The query.
            most: Agents at most.
            after: Rank and id of the last agent of the page before.
        """
        ...

    async def named(self, names: Collection[str]) -> Collection[str]:
        """Returns those of the names that are the id or slug of an agent."""
        ...

    async def tags(self, name: str) -> Collection[str]:
        """Returns the tags of an agent; empty without such an agent."""
        ...

    async def resolve(self, name: str, number: str | None, alias: str | None) -> ResolvedAgent | None:
        """Resolves a name to the version of a number, of an alias, or to the current one.

        Returns:
            The agent and version; None without such an agent.
        """
        ...

    async def held(self, agent_id: str, version_id: str) -> AgentVersion | None:
        """Returns a version and locks its status with a shared lock, which many transactions may hold at once."""
        ...
