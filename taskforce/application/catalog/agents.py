"""The catalog of a tenant: agents made, described, found, named and removed."""

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
from taskforce.core.interfaces.repositories.catalog import AgentFilter, Listed
from taskforce.core.interfaces.store import Records, Store


@dataclass(frozen=True, slots=True)
class NewAgent:
    """An agent that is to be made.

    Attributes:
        name: For people.
        definition: What its first version is.
        slug: For addresses; derived from the name when left out.
        description, category, tags: See `Description`; what is None a clone has of its source, and another agent not.
        owner_id: Who answers for it; its maker when left out.
        changelog: What is new about its first version.
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
    """What people shall be told of an agent; None stays as it is, and an empty category is none."""

    name: str | None = None
    slug: str | None = None
    description: str | None = None
    category: str | None = None
    tags: frozenset[str] | None = None
    owner_id: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """An agent as a caller names it.

    Attributes:
        name: Its id or its slug.
        seen: The revisions of which the caller would change one; None does not care.
    """

    name: str
    seen: frozenset[int] | None = None


class CatalogTags:
    """The tags of agents; fulfils `Tags`.

    Args:
        store: The door to the tenants' data.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tags(self, tenant_id: str, resource_type: ResourceType, resource_id: str) -> Collection[str]:
        """The tags of one resource; none for one that has no tags or is not there."""
        if resource_type is not ResourceType.AGENT:
            return ()
        async with self._store.tenant(tenant_id) as records:
            return await records.catalog.tags(resource_id)


def act_of(actor: Actor, comment: str = "") -> Act:
    """What somebody does now, as the rules take it.

    Raises:
        Invalid: `comment_too_long`.
    """
    return Act(actor.principal.user.user_id, actor.now, comment)


async def create_agent(store: Store, actor: Actor, new: NewAgent, reserved: Collection[str] = ()) -> Agent:
    """Makes an agent with a first draft, of the number 0.1.0.

    Args:
        store: The door to the tenant's data.
        actor: Who makes it.
        new: What it shall be; a draft takes any definition.
        reserved: Slugs that lead elsewhere.

    Raises:
        Invalid: As `Description` and `AgentVersion.drafted`.
        Conflict: `slug_taken`, `agents_limit_reached`.
    """
    slug = slug_of(new.name) if new.slug is None else new.slug
    owner = new.owner_id or actor.principal.user.user_id
    about = Description(new.name, slug, new.description or "", new.category or None, new.tags or frozenset(), owner)
    tenant_id = actor.principal.tenant.tenant_id
    act = act_of(actor)
    agent = Agent.made(tenant_id, new_id(), about, new_id(), new.definition, act, changelog=new.changelog)
    async with store.tenant(tenant_id) as records:
        await _require_room(records)
        await _require_free(records, slug, reserved)
        await records.catalog.add(agent)
        await records.audit.append(event(actor, "agent.create", agent, after=audit_snapshot(agent)))
    return agent


async def clone_agent(store: Store, actor: Actor, source: str, new: NewAgent, reserved: Collection[str] = ()) -> Agent:
    """Makes an agent whose first draft is what another one's current version is, or its highest one.

    Args:
        store: The door to the tenant's data.
        actor: Who makes it.
        source: The agent to copy.
        new: What is different; its definition is not looked at.
        reserved: Slugs that lead elsewhere.

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
    """One agent with its versions.

    Raises:
        Missing: `agent_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await records.catalog.get(name)
    if agent is None:
        raise missing("agent")
    return agent


async def agent_id_of(store: Store, tenant_id: str, name: str) -> str | None:
    """The id of an agent that is named by its id or its slug; None when there is none."""
    async with store.tenant(tenant_id) as records:
        return await records.catalog.id_of(name)


async def list_agents(store: Store, actor: Actor, which: AgentFilter, page: Page) -> Sequence[Listed]:
    """A page of agents, newest first."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.catalog.page(which, page)


async def search_agents(
    store: Store, actor: Actor, which: AgentFilter, question: str, most: int, after: tuple[float, str] | None = None
) -> Sequence[Listed]:
    """Agents that answer a question, the best first; see `taskforce.core.domain.catalog.search`."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.catalog.search(which, question, most, after)


async def change_agent(
    store: Store, actor: Actor, named: Named, wanted: AgentChange, reserved: Collection[str] = ()
) -> Agent:
    """Changes what people are told of an agent.

    Raises:
        Missing: `agent_not_found`.
        Stale: `revision_changed`.
        Invalid: As `Description`.
        Conflict: `slug_taken`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        if wanted.slug is not None:
            await records.catalog.alone()
        agent = await locked(records, named)
        about = _described(agent.about, wanted)
        if about.slug != agent.about.slug:
            await _require_free(records, about.slug, reserved)
        changed = agent.described(about, actor.now)
        await records.catalog.save(changed, agent)
        await records.audit.append(
            event(actor, "agent.change", changed, before=audit_snapshot(agent), after=audit_snapshot(changed))
        )
    return changed


async def remove_agent(store: Store, actor: Actor, named: Named) -> None:
    """Removes an agent whose versions are drafts or archived, and that nobody runs; runs of it keep what they were.

    Raises:
        Missing: `agent_not_found`.
        Stale: `revision_changed`.
        Conflict: `agent_in_use`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await locked(records, named)
        agent.require_removable(await records.runs.open_of_agent(agent.agent_id))
        await records.catalog.remove(agent.agent_id)
        await records.audit.append(event(actor, "agent.delete", agent, before=audit_snapshot(agent), after=None))


async def point_alias(store: Store, actor: Actor, named: Named, alias: str, version_id: str) -> Agent:
    """Lets a name lead to a published version, wherever it led before.

    Raises:
        Missing, Invalid, Conflict: As `Agent.pointed`.
        Stale: `revision_changed`.
    """

    def details(_: Agent, pointed: Agent) -> Mapping[str, object]:
        return {"alias": alias, "version": told_version(pointed.version(version_id))}

    return await changing(
        store, actor, named, "agent.alias.point", lambda agent: agent.pointed(alias, version_id, actor.now), details
    )


async def remove_alias(store: Store, actor: Actor, named: Named, alias: str) -> Agent:
    """Removes a name.

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
        lambda *_: {"alias": alias},
    )


async def changing(
    store: Store,
    actor: Actor,
    named: Named,
    action: str,
    change: Callable[[Agent], Agent],
    details: Callable[[Agent, Agent], Mapping[str, object]],
) -> Agent:
    """Applies a rule to an agent that nobody else changes meanwhile, and keeps and audits what came of it, if anything.

    Args:
        store: The door to the tenant's data.
        actor: Who asks.
        named: Which agent.
        action: For the audit log.
        change: The rule.
        details: For the audit log, besides what the agent was and is, out of both.

    Raises:
        Missing: `agent_not_found`.
        Stale: `revision_changed`.
        DomainError: What the rule raises.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await locked(records, named)
        changed = change(agent)
        if changed is agent:
            return agent
        await records.catalog.save(changed, agent)
        more = details(agent, changed)
        await records.audit.append(
            event(actor, action, changed, **more, before=audit_snapshot(agent), after=audit_snapshot(changed))
        )
    return changed


async def locked(records: Records, named: Named) -> Agent:
    """An agent that nobody else changes before the transaction ends.

    Raises:
        Missing: `agent_not_found`.
        Stale: `revision_changed`: it is not any more what the caller saw.
    """
    agent = await records.catalog.locked(named.name)
    if agent is None:
        raise missing("agent")
    require_seen(agent, named.seen)
    return agent


def require_seen(agent: Agent, seen: frozenset[int] | None) -> None:
    """Lets only somebody go on who has seen an agent as it is.

    Raises:
        Stale: `revision_changed`: it is not any more what the caller saw.
    """
    if seen is not None and agent.revision not in seen:
        text = "The agent has been changed since you looked at it. Read it again, and repeat your change if it holds."
        raise Stale("revision_changed", text, details={"revision": agent.revision})


def event(actor: Actor, action: str, agent: Agent, **details: object) -> AuditEvent:
    """What somebody did to an agent, for the audit log."""
    return actor.event(action, "agent", agent.agent_id, **details)


def audit_snapshot(agent: Agent) -> dict[str, object]:
    """An agent as the log tells it: of its versions what they are, not what they define."""
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


def told_version(version: AgentVersion) -> dict[str, object]:
    """A version as the log tells it."""
    return {
        "version_id": version.version_id,
        "version_number": version.version_number,
        "status": version.status.value,
        "config_hash": version.config_hash,
    }


async def _require_room(records: Records) -> None:
    there = await records.catalog.alone()
    tenant = await records.tenant.get()
    most = None if tenant is None else tenant.settings.max_agents
    if most is not None and there >= most:
        text = f"Your tenant may have {most} agents. Remove one, or ask whoever runs the platform for more."
        raise Conflict("agents_limit_reached", text, details={"max_agents": most})


async def _require_free(records: Records, slug: str, reserved: Collection[str]) -> None:
    if slug in reserved or await records.catalog.id_of(slug) is not None:
        raise Conflict("slug_taken", f"There is an agent {slug} already; state another `slug`.")


def _described(about: Description, wanted: AgentChange) -> Description:
    category = about.category if wanted.category is None else wanted.category or None
    return replace(
        about,
        name=about.name if wanted.name is None else wanted.name,
        slug=about.slug if wanted.slug is None else wanted.slug,
        description=about.description if wanted.description is None else wanted.description,
        category=category,
        tags=about.tags if wanted.tags is None else wanted.tags,
        owner_id=about.owner_id if wanted.owner_id is None else wanted.owner_id,
    )
