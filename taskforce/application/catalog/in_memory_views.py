"""Views of what a program keeps in its catalog: each shows what is there now."""

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.catalog.agent import Agent
from taskforce.core.domain.catalog.definition import Problem
from taskforce.core.domain.catalog.version import AgentVersion, Transition, VersionStatus


class Holder(Protocol):
    """Where the agents are."""

    def agent(self, agent_id: str) -> Agent:
        """An agent as the rules see it."""
        ...

    def problems(self, version: AgentVersion) -> tuple[Problem, ...]:
        """What keeps a version from being submitted."""
        ...


class CatalogEntry:
    """An agent as it is now.

    Args:
        catalog: Where it is.
        agent_id: Which one.
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
        """Its tenant."""
        return self._now.tenant_id

    @property
    def name(self) -> str:
        """For people."""
        return self._now.about.name

    @property
    def slug(self) -> str:
        """For addresses."""
        return self._now.about.slug

    @property
    def description(self) -> str:
        """For people."""
        return self._now.about.description

    @property
    def category(self) -> str | None:
        """One word for what it is for."""
        return self._now.about.category

    @property
    def tags(self) -> frozenset[str]:
        """Labels."""
        return self._now.about.tags

    @property
    def owner_id(self) -> str:
        """Who answers for it."""
        return self._now.about.owner_id

    @property
    def versions(self) -> "list[CatalogVersion]":
        """Its versions, in the order of their making."""
        return [CatalogVersion(self._catalog, self.agent_id, one.version_id) for one in self._now.versions]

    @property
    def aliases(self) -> Mapping[str, str]:
        """Names that lead to published versions, with the versions' ids."""
        return dict(self._now.aliases)

    @property
    def current_version(self) -> str | None:
        """The number of the version that runs when nobody names one; None before the first was published."""
        current = self._now.current
        return None if current is None else current.version_number

    def get_current_version(self) -> "CatalogVersion | None":
        """The version that runs when nobody names one; None before the first was published."""
        current = self._now.current
        return None if current is None else CatalogVersion(self._catalog, self.agent_id, current.version_id)

    @property
    def _now(self) -> Agent:
        return self._catalog.agent(self.agent_id)


class CatalogVersion:
    """A version as it is now.

    Args:
        catalog: Where it is.
        agent_id: Its agent.
        version_id: Which one.
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
        """As Semantic Versioning writes it."""
        return self._now.version_number

    @property
    def status(self) -> VersionStatus:
        """Where it stands."""
        return self._now.status

    @property
    def definition(self) -> Mapping[str, object]:
        """What the agent is; a copy, for what was submitted does not change."""
        return deepcopy(dict(self._now.definition))

    @property
    def changelog(self) -> str:
        """What is new."""
        return self._now.changelog

    @property
    def config_hash(self) -> str:
        """SHA-256 over the definition's canonical JSON: whether two definitions are the same."""
        return self._now.config_hash

    @property
    def created_by(self) -> str:
        """Who made it."""
        return self._now.created_by

    @property
    def created_at(self) -> datetime:
        """When."""
        return self._now.created_at

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """Each step of its life, with who, when and why."""
        return self._now.transitions

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What keeps it from being submitted."""
        return self._catalog.problems(self._now)

    @property
    def _now(self) -> AgentVersion:
        return self._catalog.agent(self.agent_id).version(self.version_id)
