"""Agents of a tenant's catalog: created, described, found, removed, with aliases for their versions."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from taskforce.application.identity.principals import Actor
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.catalog.agent import Agent, Description, slug_of
from taskforce.core.domain.catalog.definition import Definition
from taskforce.core.domain.catalog.version import Act, AgentVersion
from taskforce.core.domain.errors import Conflict, Stale
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.identity import ResourceType
from taskforce.core.interfaces.repositories.catalog import AgentFilter, AgentSummary
from taskforce.core.interfaces.store import Records, Store


@dataclass(frozen=True, slots=True)
class NewAgent:
    """An agent to be created.

    Attributes:
        name: The display name.
        definition: The definition of its first version.
        slug: The name in URLs; derived from the name when left out.
        description, category, tags: See `Description`; None is copied from the source by a clone, and empty otherwise.
        owner_id: The user who is responsible for it; its creator when left out.
        changelog: The changelog of its first version.
    """

    name: str
    definition: Definition = field(default_factory=dict, hash=False)
    slug: str | None = None
    description: str | None = None
    category: str | None = None
    tags: frozenset[str] | None = None
    owner_id: str | None = None
    changelog: str = ""


@dataclass(frozen=True, slots=True)
class AgentChange:
    """The changed fields of an agent's description; None leaves a field as it is, and an empty category removes it."""

    name: str | None = None
    slug: str | None = None
    description: str | None = None
    category: str | None = None
    tags: frozenset[str] | None = None
    owner_id: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A reference to an agent, with the precondition of a change.

    Attributes:
        name: Its id or its slug.
        seen: The revisions that `If-Match` names; None is no precondition.
    """

    name: str
    seen: frozenset[int] | None = None


class CatalogTags:
    """The tags of agents; fulfils `Tags`.

    Args:
        store: The tenants' data.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tags(self, tenant_id: str, resource_type: ResourceType, resource_id: str) -> Collection[str]:
        """Returns the tags of an agent; empty where it does not exist, and for other resource types."""
        if resource_type is not ResourceType.AGENT:
            return ()
        async with self._store.tenant(tenant_id) as records:
            return await records.catalog.tags(resource_id)


def act_of(actor: Actor, comment: str = "") -> Act:
    """Builds the author, time and comment of a change, as the rules of the catalog take them.

    Raises:
        Invalid: `comment_too_long`.
    """
    return Act(actor.principal.user.user_id, actor.now, comment)


async def create_agent(store: Store, actor: Actor, new: NewAgent, reserved: Collection[str] = ()) -> Agent:
    """Creates an agent with a draft as its first version, 0.1.0.

    Args:
        store: The tenants' data.
        actor: The caller.
        new: The agent; a draft may have any definition.
        reserved: Slugs that are taken by agents of the deployment's profiles.

    Raises:
        Invalid: As `Description` and `AgentVersion.drafted`.
        Conflict: `slug_taken`, `agents_limit_reached`.
    """
    slug = slug_of(new.name) if new.slug is None else new.slug
    owner = new.owner_id or actor.principal.user.user_id
    about = Description(new.name, slug, new.description or "", new.category or None, new.tags or frozenset(), owner)
    tenant_id = actor.principal.tenant.tenant_id
    act = act_of(actor)
    agent = Agent.made(tenant_id, new_id(), about, new_id(), new.definition, act=act, changelog=new.changelog)
    async with store.tenant(tenant_id) as records:
        await _require_room(records)
        await _require_free(records, slug, reserved)
        await records.catalog.add(agent)
        await records.audit.append(event(actor, "agent.create", agent, after=audit_snapshot(agent)))
    return agent


async def clone_agent(store: Store, actor: Actor, source: str, new: NewAgent, reserved: Collection[str] = ()) -> Agent:
    """Creates an agent whose first draft copies the current version of another agent, or its highest version.

    Args:
        store: The tenants' data.
        actor: The caller.
        source: The id or slug of the agent to copy.
        new: The fields that differ from the source; its definition is ignored.
        reserved: As in `create_agent`.

    Raises:
        Missing: `agent_not_found`.
        Invalid, Conflict: As `create_agent`.
    """
    agent = await find_agent(store, actor, source)
    copied = (agent.current or agent.ordered()[0]).definition
    about = agent.about
    wanted = replace(
        new,
        definition=copied,
        description=about.description if new.description is None else new.description,
        category=about.category if new.category is None else new.category,
        tags=about.tags if new.tags is None else new.tags,
    )
    return await create_agent(store, actor, wanted, reserved)


async def find_agent(store: Store, actor: Actor, name: str) -> Agent:
    """Finds an agent, with its versions, by id or slug.

    Raises:
        Missing: `agent_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await records.catalog.get(name)
    if agent is None:
        raise missing("agent")
    return agent


async def agent_id_of(store: Store, tenant_id: str, name: str) -> str | None:
    """Finds the id of an agent by id or slug; None where there is no such agent."""
    async with store.tenant(tenant_id) as records:
        return await records.catalog.id_of(name)


async def list_agents(store: Store, actor: Actor, which: AgentFilter, page: Page) -> Sequence[AgentSummary]:
    """Lists a page of agents, newest first."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.catalog.page(which, page)


async def search_agents(
    store: Store, actor: Actor, which: AgentFilter, question: str, *, most: int, after: tuple[float, str] | None = None
) -> Sequence[AgentSummary]:
    """Searches agents by words, the best match first; see `taskforce.core.domain.catalog.search`."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.catalog.search(which, question, most, after)


async def change_agent(
    store: Store, actor: Actor, named: Named, change: AgentChange, reserved: Collection[str] = ()
) -> Agent:
    """Changes the description of an agent.

    Raises:
        Missing: `agent_not_found`.
        Stale: `revision_changed`.
        Invalid: As `Description`.
        Conflict: `slug_taken`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        if change.slug is not None:
            # Locked before the agent, in the order of `create_agent`: of two who take one slug, the second sees it.
            await records.catalog.alone()
        agent = await locked(records, named)
        about = _described(agent.about, change)
        if about.slug != agent.about.slug:
            await _require_free(records, about.slug, reserved)
        changed = agent.described(about, actor.now)
        await records.catalog.save(changed, agent)
        await records.audit.append(
            event(actor, "agent.change", changed, before=audit_snapshot(agent), after=audit_snapshot(changed))
        )
    return changed


async def remove_agent(store: Store, actor: Actor, named: Named) -> None:
    """Deletes an agent whose versions are drafts or archived and that has no open run; ended runs keep their record.

    Roles on the agent go with it.

    Raises:
        Missing: `agent_not_found`.
        Stale: `revision_changed`.
        Conflict: `agent_in_use`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await locked(records, named)
        agent.require_removable(await records.runs.open_of_agent(agent.agent_id))
        await records.catalog.remove(agent.agent_id)
        withdrawn = await records.roles.withdraw_all(ResourceType.AGENT, agent.agent_id)
        more = {"grants_withdrawn": withdrawn} if withdrawn else {}
        before = audit_snapshot(agent)
        await records.audit.append(event(actor, "agent.delete", agent, before=before, after=None, **more))


async def point_alias(store: Store, actor: Actor, named: Named, alias: str, version_id: str) -> Agent:
    """Sets an alias to a published version.

    Raises:
        Missing, Invalid, Conflict: As `Agent.pointed`.
        Stale: `revision_changed`.
    """

    def details(_: Agent, agent: Agent) -> Mapping[str, object]:
        return {"alias": alias, "version": version_facts(agent.version(version_id))}

    return await changing(
        store,
        actor,
        named,
        "agent.alias.point",
        lambda agent: agent.pointed(alias, version_id, actor.now),
        details=details,
    )


async def remove_alias(store: Store, actor: Actor, named: Named, alias: str) -> Agent:
    """Deletes an alias.

    Raises:
        Missing: `agent_not_found` or `alias_not_found`.
        Stale: `revision_changed`.
    """
    return await changing(
        store,
        actor,
        named,
        "agent.alias.remove",
        lambda agent: agent.unpointed(alias, actor.now),
        details=lambda *_: {"alias": alias},
    )


async def changing(
    store: Store,
    actor: Actor,
    named: Named,
    action: str,
    change: Callable[[Agent], Agent],
    *,
    details: Callable[[Agent, Agent], Mapping[str, object]],
) -> Agent:
    """Locks an agent, applies a change, and saves and audits the result if it differs.

    Args:
        store: The tenants' data.
        actor: The caller.
        named: The agent.
        action: The audit action.
        change: The rule that returns the changed agent.
        details: Returns further audit details from the agent before and afterwards.

    Raises:
        Missing: `agent_not_found`.
        Stale: `revision_changed`.
        DomainError: As the rule.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await locked(records, named)
        changed = change(agent)
        # Nothing has changed: the revision stays, and there is no audit event.
        if changed is agent:
            return agent
        await records.catalog.save(changed, agent)
        more = details(agent, changed)
        await records.audit.append(
            event(actor, action, changed, **more, before=audit_snapshot(agent), after=audit_snapshot(changed))
        )
    return changed


async def locked(records: Records, named: Named) -> Agent:
    """Reads an agent and locks it until the transaction ends.

    Raises:
        Missing: `agent_not_found`.
        Stale: `revision_changed`: its revision is not one that `If-Match` names.
    """
    agent = await records.catalog.locked(named.name)
    if agent is None:
        raise missing("agent")
    require_seen(agent, named.seen)
    return agent


def require_seen(agent: Agent, revisions: frozenset[int] | None) -> None:
    """Requires that `If-Match` names the agent's current revision (RFC 9110, 13.1.1).

    Raises:
        Stale: `revision_changed`; its details have the current revision.
    """
    if revisions is not None and agent.revision not in revisions:
        text = "The agent has been changed since you looked at it. Read it again, and repeat your change if it holds."
        raise Stale("revision_changed", text, details={"revision": agent.revision})


def event(actor: Actor, action: str, agent: Agent, **details: object) -> AuditEvent:
    """Builds the audit event of an action on an agent."""
    return actor.event(action, "agent", agent.agent_id, **details)


def audit_snapshot(agent: Agent) -> dict[str, object]:
    """Returns the fields of an agent for audit events, without the definitions of its versions."""
    about = agent.about
    return {
        "name": about.name,
        "slug": about.slug,
        "category": about.category,
        "tags": sorted(about.tags),
        "owner_id": about.owner_id,
        "current": None if agent.current is None else agent.current.version_number,
        "aliases": {name: agent.version(target).version_number for name, target in agent.aliases.items()},
        "revision": agent.revision,
    }


def version_facts(version: AgentVersion) -> dict[str, object]:
    """Returns the fields of a version for audit events, without its definition."""
    return {
        "version_id": version.version_id,
        "version_number": version.version_number,
        "status": version.status.value,
        "config_hash": version.config_hash,
    }


async def _require_room(records: Records) -> None:
    # Takes the catalog's lock: of two concurrent creations, the second one counts the first.
    there = await records.catalog.alone()
    tenant = await records.tenant.get()
    most = None if tenant is None else tenant.settings.max_agents
    if most is not None and there >= most:
        text = f"Your tenant may have {most} agents. Remove one, or ask whoever runs the platform for more."
        raise Conflict("agents_limit_reached", text, details={"max_agents": most})


async def _require_free(records: Records, slug: str, reserved: Collection[str]) -> None:
    if slug in reserved or await records.catalog.id_of(slug) is not None:
        raise Conflict("slug_taken", f"There is an agent {slug} already; state another `slug`.")


def _described(about: Description, change: AgentChange) -> Description:
    category = about.category if change.category is None else change.category or None
    return replace(
        about,
        name=about.name if change.name is None else change.name,
        slug=about.slug if change.slug is None else change.slug,
        description=about.description if change.description is None else change.description,
        category=category,
        tags=about.tags if change.tags is None else change.tags,
        owner_id=about.owner_id if change.owner_id is None else change.owner_id,
    )
