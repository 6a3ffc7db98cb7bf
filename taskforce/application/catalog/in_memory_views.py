"""Views of the agents and versions in an in-memory catalog; they always show the current state."""

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.catalog.agent import Agent
from taskforce.core.domain.catalog.definition import Problem
from taskforce.core.domain.catalog.version import AgentVersion, Transition, VersionStatus


class Holder(Protocol):
    """The catalog that views read from."""

    def agent(self, agent_id: str) -> Agent:
        """Returns the domain object of an agent."""
        ...

    def problems(self, version: AgentVersion) -> tuple[Problem, ...]:
        """Lists the problems that keep a version from being submitted."""
        ...


class CatalogEntry:
    """View of an agent.

    Args:
        catalog: The catalog.
        agent_id: The agent.
    """

    def __init__(self, catalog: Holder, agent_id: str) -> None:
        self._catalog = catalog
        self.agent_id = agent_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CatalogEntry) and other.agent_id == self.agent_id

    def __hash__(self) -> int:
        return hash(self.agent_id)

    def __repr__(self) -> str:
        return f"CatalogEntry({self.slug!r}, {self.agent_id!r})"

    @property
    def tenant_id(self) -> str:
        """Returns the tenant."""
        return self._now.tenant_id

    @property
    def name(self) -> str:
        """Returns the display name."""
        return self._now.about.name

    @property
    def slug(self) -> str:
        """Returns the name in URLs."""
        return self._now.about.slug

    @property
    def description(self) -> str:
        """Returns the description, for people."""
        return self._now.about.description

    @property
    def category(self) -> str | None:
        """Returns the category, one word."""
        return self._now.about.category

    @property
    def tags(self) -> frozenset[str]:
        """Returns the tags."""
        return self._now.about.tags

    @property
    def owner_id(self) -> str:
        """Returns the user who is responsible for it."""
        return self._now.about.owner_id

    @property
    def versions(self) -> "list[CatalogVersion]":
        """Returns the versions, in the order of their creation."""
        return [CatalogVersion(self._catalog, self.agent_id, one.version_id) for one in self._now.versions]

    @property
    def aliases(self) -> Mapping[str, str]:
        """Returns the version ids by alias."""
        return dict(self._now.aliases)

    @property
    def current_version(self) -> str | None:
        """Returns the number of the current version, which runs by default; None before the first publication."""
        current = self._now.current
        return None if current is None else current.version_number

    def get_current_version(self) -> "CatalogVersion | None":
        """Returns the current version, which runs by default; None before the first publication."""
        current = self._now.current
        return None if current is None else CatalogVersion(self._catalog, self.agent_id, current.version_id)

    @property
    def _now(self) -> Agent:
        return self._catalog.agent(self.agent_id)


class CatalogVersion:
    """View of a version.

    Args:
        catalog: The catalog.
        agent_id: The agent.
        version_id: The version.
    """

    def __init__(self, catalog: Holder, agent_id: str, version_id: str) -> None:
        self._catalog = catalog
        self.agent_id = agent_id
        self.version_id = version_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CatalogVersion) and other.version_id == self.version_id

    def __hash__(self) -> int:
        return hash(self.version_id)

    def __repr__(self) -> str:
        return f"CatalogVersion({self.version_number!r}, {self.status.value})"

    @property
    def version_number(self) -> str:
        """Returns the number, by Semantic Versioning."""
        return self._now.version_number

    @property
    def status(self) -> VersionStatus:
        """Returns the status in its life cycle."""
        return self._now.status

    @property
    def definition(self) -> Mapping[str, object]:
        """Returns a copy of the definition, for a submitted definition must not change."""
        return deepcopy(dict(self._now.definition))

    @property
    def changelog(self) -> str:
        """Returns the changelog."""
        return self._now.changelog

    @property
    def config_hash(self) -> str:
        """Returns the SHA-256 of the definition's canonical JSON; equal definitions have equal hashes."""
        return self._now.config_hash

    @property
    def created_by(self) -> str:
        """Returns the user who created it."""
        return self._now.created_by

    @property
    def created_at(self) -> datetime:
        """Returns the time of its creation, UTC."""
        return self._now.created_at

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """Returns the status changes, each with user, time and comment."""
        return self._now.transitions

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Returns the problems that keep it from being submitted."""
        return self._catalog.problems(self._now)

    @property
    def _now(self) -> AgentVersion:
        return self._catalog.agent(self.agent_id).version(self.version_id)
