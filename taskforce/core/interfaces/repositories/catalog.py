"""What the use cases of the catalog ask of storage, within one transaction of one tenant; see `records.py`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.catalog.agent import Agent, Description
from taskforce.core.domain.catalog.version import AgentVersion, VersionStatus
from taskforce.core.domain.paging import Page


@dataclass(frozen=True, slots=True)
class AgentFilter:
    """Which agents to list; None is any.

    Attributes:
        category: Their category.
        tags: Agents that have one of these tags, at least; none is any.
        status: Agents that have a version in this status.
        owner_id: Who answers for them.
    """

    category: str | None = None
    tags: frozenset[str] = frozenset()
    status: VersionStatus | None = None
    owner_id: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """An agent as lists show it.

    Attributes:
        agent_id: Its id.
        about: What people are told of it.
        current_number: The number of the version that runs when nobody names one.
        latest_number: The highest number that it has.
        latest_status: Where that version stands.
        created_at: When it was made, UTC.
        updated_at: When it was changed last, UTC.
        revision: How often it was changed.
        rank: How well it answers a question; 0 in a plain list.
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
class Led:
    """Where a name of an agent leads.

    Attributes:
        agent_id: The agent.
        about: What people are told of it.
        version: The version; None when the name leads to none.
    """

    agent_id: str
    about: Description
    version: AgentVersion | None


class Catalog(Protocol):
    """The tenant's agents. Where an agent is named, its id and its slug are the same."""

    async def alone(self) -> int:
        """Waits for others who make or rename agents, and says how many there are; nobody else does it meanwhile."""
        ...

    async def id_of(self, name: str) -> str | None:
        """The id of an agent; None when there is none."""
        ...

    async def get(self, name: str) -> Agent | None:
        """The agent with its versions."""
        ...

    async def locked(self, name: str) -> Agent | None:
        """As `get`; nobody else changes it before this transaction ends. Read so before `save`."""
        ...

    async def add(self, agent: Agent) -> None:
        """Adds an agent; call `alone` and look for its slug before."""
        ...

    async def save(self, agent: Agent, was: Agent) -> None:
        """Keeps what is different."""
        ...

    async def remove(self, agent_id: str) -> None:
        """Removes an agent and its versions."""
        ...

    async def page(self, which: AgentFilter, page: Page) -> Sequence[Listed]:
        """A page of agents, newest first."""
        ...

    async def search(
        self, which: AgentFilter, question: str, most: int, after: tuple[float, str] | None
    ) -> Sequence[Listed]:
        """Agents that answer a question, the best first; agrees with `taskforce.core.domain.catalog.search`.

        Args:
            which: Among which agents.
            question: What is asked.
            most: Agents at most.
            after: Rank and id of the last one of the page before.
        """
        ...

    async def tags(self, name: str) -> Collection[str]:
        """The tags of an agent; none when there is no such agent."""
        ...

    async def led(self, name: str, number: str | None, alias: str | None) -> Led | None:
        """Where a name leads: to the version of a number, of an alias, or to the current one.

        Returns:
            None when there is no such agent.
        """
        ...

    async def held(self, agent_id: str, version_id: str) -> AgentVersion | None:
        """A version whose status nobody changes before this transaction ends, although many may hold it at once."""
        ...
