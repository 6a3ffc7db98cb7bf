"""The catalog of agents for programs that embed the library: the rules of the core over a dict in memory.

It returns views: an entry or a version that a program holds always shows the current state.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime

from taskforce.application.catalog.in_memory_views import CatalogEntry, CatalogVersion
from taskforce.core.domain.catalog.agent import Agent, Description, labels, slug_of
from taskforce.core.domain.catalog.definition import ANYTHING, Offered, Problem, problems_of
from taskforce.core.domain.catalog.search import rank
from taskforce.core.domain.catalog.version import Act, AgentVersion, VersionStatus
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.interfaces.identity import checked_tenant_id

SYSTEM = "system"
"""The author of changes where a program names none."""


class AgentCatalog:
    """Agents and their versions.

    Args:
        offered: The tools and models that definitions may name; any by default, for the library knows none.
        max_agents: Agents that a tenant may have; None is no limit.
        clock: Returns the time, UTC.
    """

    def __init__(
        self,
        offered: Offered = ANYTHING,
        max_agents: int | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._offered = offered
        self._max_agents = max_agents
        self._clock = clock
        self._agents: dict[str, Agent] = {}

    def create_agent(
        self,
        tenant_id: str,
        name: str,
        description: str = "",
        category: str | None = None,
        tags: Iterable[str] = (),
        *,
        owner_id: str = SYSTEM,
        initial_definition: Mapping[str, object] | None = None,
        slug: str | None = None,
    ) -> CatalogEntry:
        """Creates an agent with a draft as its first version, 0.1.0.

        Args:
            tenant_id: The tenant.
            name: The display name.
            description: The description, for people.
            category: The category, one word.
            tags: The tags.
            owner_id: The user who is responsible for it and creates it.
            initial_definition: The definition of its first version; a draft may have any.
            slug: The name in URLs; derived from the name when left out.

        Raises:
            Invalid: As `Description` and `AgentVersion.drafted`; `tenant_id_invalid`.
            Conflict: `slug_taken` or `agents_limit_reached`.
        """
        about = Description(name, slug or slug_of(name), description, category, labels(tags), owner_id)
        agent = Agent.made(
            checked_tenant_id(tenant_id),
            new_id(),
            about,
            new_id(),
            deepcopy(dict(initial_definition or {})),
            act=self._act(owner_id),
        )
        if self._max_agents is not None and len(self._of(tenant_id)) >= self._max_agents:
            raise Conflict("agents_limit_reached", f"A tenant may have {self._max_agents} agents.")
        if any(one.about.slug == about.slug for one in self._of(tenant_id)):
            raise Conflict("slug_taken", f"There is an agent {about.slug} already; state another slug.")
        self._agents[agent.agent_id] = agent
        return CatalogEntry(self, agent.agent_id)

    def create_version(
        self,
        agent_id: str,
        version_number: str,
        definition: Mapping[str, object],
        created_by: str = SYSTEM,
        changelog: str = "",
    ) -> CatalogVersion:
        """Adds a draft version.

        Raises:
            Missing: `agent_not_found`.
            Conflict, Invalid: As `Agent.drafted`.
        """
        version_id = new_id()
        made = self.agent(agent_id).drafted(
            # A copy: the program may go on changing its mapping, and a submitted version must not change.
            version_id,
            version_number,
            deepcopy(dict(definition)),
            changelog,
            self._act(created_by),
        )
        return self._kept(made, version_id)

    def revise_version(
        self,
        agent_id: str,
        version_id: str,
        definition: Mapping[str, object] | None = None,
        *,
        changelog: str | None = None,
        version_number: str | None = None,
        revised_by: str = SYSTEM,
    ) -> CatalogVersion:
        """Changes a draft; fields that are None stay as they are. Raises as `Agent.revised`."""
        agent, act = self.agent(agent_id), self._act(revised_by)
        said = None if definition is None else deepcopy(dict(definition))
        done = agent.revised(version_id, act, number=version_number, definition=said, changelog=changelog)
        return self._kept(done, version_id)

    def submit_for_approval(
        self, agent_id: str, version_id: str, submitted_by: str = SYSTEM, comment: str = ""
    ) -> CatalogVersion:
        """Submits a version for approval. Raises as `Agent.submitted`."""
        act = self._act(submitted_by, comment)
        return self._kept(self.agent(agent_id).submitted(version_id, act, self._offered), version_id)

    def approve_version(self, agent_id: str, version_id: str, approved_by: str, comment: str = "") -> CatalogVersion:
        """Approves a submitted version. Raises as `Agent.approved`."""
        act = self._act(approved_by, comment)
        return self._kept(self.agent(agent_id).approved(version_id, act), version_id)

    def reject_version(self, agent_id: str, version_id: str, rejected_by: str, comment: str = "") -> CatalogVersion:
        """Rejects a submitted version, which becomes a draft again. Raises as `Agent.rejected`."""
        act = self._act(rejected_by, comment)
        return self._kept(self.agent(agent_id).rejected(version_id, act), version_id)

    def publish_version(
        self, agent_id: str, version_id: str, published_by: str = SYSTEM, comment: str = ""
    ) -> CatalogVersion:
        """Publishes an approved version and makes it the current one. Raises as `Agent.published`."""
        act = self._act(published_by, comment)
        return self._kept(self.agent(agent_id).published(version_id, act), version_id)

    def deprecate_version(
        self,
        agent_id: str,
        version_id: str,
        deprecated_by: str = SYSTEM,
        comment: str = "",
        *,
        draining: bool = False,
        release: bool = False,
    ) -> CatalogVersion:
        """Deprecates a published version. Arguments and errors as those of `Agent.deprecated`."""
        act, agent = self._act(deprecated_by, comment), self.agent(agent_id)
        return self._kept(agent.deprecated(version_id, act, draining=draining, release=release), version_id)

    def archive_version(
        self, agent_id: str, version_id: str, archived_by: str = SYSTEM, comment: str = ""
    ) -> CatalogVersion:
        """Archives a deprecated version. Raises as `Agent.archived`."""
        act = self._act(archived_by, comment)
        return self._kept(self.agent(agent_id).archived(version_id, act), version_id)

    def rollback(self, agent_id: str, version_id: str | None = None, rolled_back_by: str = SYSTEM) -> CatalogEntry:
        """Makes an earlier published version the current one again. Raises as `Agent.rolled_back`."""
        return self._kept_agent(self.agent(agent_id).rolled_back(self._act(rolled_back_by), version_id))

    def set_alias(self, agent_id: str, alias: str, version_id: str) -> CatalogEntry:
        """Sets an alias to a published version. Raises as `Agent.pointed`."""
        return self._kept_agent(self.agent(agent_id).pointed(alias, version_id, self._clock()))

    def remove_alias(self, agent_id: str, alias: str) -> CatalogEntry:
        """Deletes an alias. Raises as `Agent.unpointed`."""
        return self._kept_agent(self.agent(agent_id).unpointed(alias, self._clock()))

    def remove_agent(self, agent_id: str) -> None:
        """Deletes an agent whose versions are drafts or archived. Raises as `Agent.require_removable`."""
        # Runs are the program's own, and are not known here.
        self.agent(agent_id).require_removable(0)
        del self._agents[agent_id]

    def get_agent(self, agent_id: str) -> CatalogEntry:
        """Returns an agent.

        Raises:
            Missing: `agent_not_found`.
        """
        return CatalogEntry(self, self.agent(agent_id).agent_id)

    def list_agents(
        self,
        tenant_id: str,
        category: str | None = None,
        tags: Iterable[str] | None = None,
        status: VersionStatus | None = None,
        owner_id: str | None = None,
    ) -> list[CatalogEntry]:
        """Lists the agents of a tenant, newest first.

        Args:
            tenant_id: The tenant.
            category: Only those of this category.
            tags: Only those with at least one of these tags.
            status: Only those with a version in this status.
            owner_id: Only those of this owner.
        """
        wanted = labels(tags or ())
        found = [
            one
            for one in self._of(tenant_id)
            if category in (None, one.about.category) and owner_id in (None, one.about.owner_id)
            if not wanted or not wanted.isdisjoint(one.about.tags)
            if status is None or any(version.status is status for version in one.versions)
        ]
        # The dict has the order of creation.
        return [CatalogEntry(self, one.agent_id) for one in reversed(found)]

    def search_agents(self, tenant_id: str, query: str, limit: int = 10) -> list[CatalogEntry]:
        """Searches agents whose name, tags or description have every word of a query, the best match first.

        Args:
            tenant_id: The tenant.
            query: Words, or beginnings of words.
            limit: Agents at most.

        Raises:
            Invalid: `limit_invalid`.
        """
        if limit < 0:
            raise Invalid("limit_invalid", "A limit is 0 or more.")
        ranked = [(rank(one.about, query), one.agent_id) for one in self._of(tenant_id)]
        best = sorted((place for place in ranked if place[0] > 0), reverse=True)
        return [CatalogEntry(self, agent_id) for _, agent_id in best[:limit]]

    def agent(self, agent_id: str) -> Agent:
        """Returns the domain object of an agent.

        Raises:
            Missing: `agent_not_found`.
        """
        found = self._agents.get(agent_id)
        if found is None:
            raise missing("agent")
        return found

    def problems(self, version: AgentVersion) -> tuple[Problem, ...]:
        """Lists the problems that keep a version from being submitted."""
        return problems_of(version.definition, self._offered)

    def _of(self, tenant_id: str) -> Sequence[Agent]:
        return [one for one in self._agents.values() if one.tenant_id == tenant_id]

    def _act(self, by: str, comment: str = "") -> Act:
        return Act(by, self._clock(), comment)

    def _kept(self, agent: Agent, version_id: str) -> CatalogVersion:
        self._agents[agent.agent_id] = agent
        return CatalogVersion(self, agent.agent_id, agent.version(version_id).version_id)

    def _kept_agent(self, agent: Agent) -> CatalogEntry:
        self._agents[agent.agent_id] = agent
        return CatalogEntry(self, agent.agent_id)
