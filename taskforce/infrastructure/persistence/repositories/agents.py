"""Repository of the catalog's agents in PostgreSQL."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from models.tables.agents import AgentRow, AgentVersionRow
from taskforce.core.domain.catalog.agent import Agent, Description
from taskforce.core.domain.catalog.version import AgentVersion, Transition, VersionStatus
from taskforce.core.domain.ids import is_id
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.repositories.catalog import AgentFilter, AgentSummary, ResolvedAgent
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repositories.agent_search import listing, places_of, searching
from taskforce.infrastructure.persistence.repository import Codec, Repository, storable, storable_json, table, where

LARGEST_INTEGER = 2**63 - 1

_AGENTS, _VERSIONS = table(AgentRow), table(AgentVersionRow)
_TRANSITIONS = Codec(tuple[Transition, ...])
# The search column is written and searched, never read back.
_COLUMNS = [column for column in _AGENTS.c if column.name != "search"]
_NAMES = ("agent_id", "slug")
_GET = {name: Query(sa.select(*_COLUMNS).where(where(_AGENTS, name))) for name in _NAMES}
_LOCK = {name: Query(sa.select(*_COLUMNS).where(where(_AGENTS, name)).with_for_update()) for name in _NAMES}
_IDS = sa.bindparam("ids", type_=ARRAY(_AGENTS.c.agent_id.type))
_SLUGS = sa.bindparam("slugs", type_=ARRAY(_AGENTS.c.slug.type))
_ANY_NAME = sa.or_(_AGENTS.c.agent_id == sa.any_(_IDS), _AGENTS.c.slug == sa.any_(_SLUGS))
_NAMED = Query(sa.select(_AGENTS.c.agent_id, _AGENTS.c.slug).where(where(_AGENTS), _ANY_NAME))
_TAGS = {name: Query(sa.select(_AGENTS.c.tags).where(where(_AGENTS, name))) for name in _NAMES}
_ID = Query(sa.select(_AGENTS.c.agent_id).where(where(_AGENTS, "slug")))
_IS_THERE = Query(sa.select(_AGENTS.c.agent_id).where(where(_AGENTS, "agent_id")))
_VERSIONS_OF = Query(sa.select(_VERSIONS).where(where(_VERSIONS, "agent_id")).order_by(_VERSIONS.c.place))
_VERSION = sa.select(_VERSIONS).where(where(_VERSIONS, "agent_id", "version_id"))
# A share lock: starts of runs take it side by side, and a change of the version's status waits for them.
_READ, _HOLD = Query(_VERSION), Query(_VERSION.with_for_update(read=True))
_NUMBERED = Query(sa.select(_VERSIONS).where(where(_VERSIONS, "agent_id", "number")))
_REMOVE_VERSIONS = Query(sa.delete(_VERSIONS).where(where(_VERSIONS, "agent_id")))
_REMOVE = Query(sa.delete(_AGENTS).where(where(_AGENTS, "agent_id")))
_COUNT = Query(sa.select(sa.func.count()).select_from(_AGENTS).where(where(_AGENTS)))
# Of two concurrent creations the second waits, and then counts the first's agent and finds its slug.
_ALONE = Query(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('agents:' || :tenant, 0))"))
_FIXED = ("tenant_id", "agent_id", "created_at")
_CHANGING = tuple(column.name for column in _AGENTS.c if column.name not in _FIXED)
_VECTOR = {"search": sa.cast(sa.bindparam("search", type_=sa.Text), _AGENTS.c.search.type)}
_ADD = Query(sa.insert(_AGENTS).values(_VECTOR), sets=[column.name for column in _AGENTS.c])
_SAVE = Query(sa.update(_AGENTS).where(where(_AGENTS, "agent_id")).values(_VECTOR), sets=_CHANGING)


def _keep() -> sa.ClauseElement:
    adding = insert(_VERSIONS)
    fixed = ("tenant_id", "agent_id", "version_id", "place", "created_by", "created_at")
    seen = {column.name: adding.excluded[column.name] for column in _VERSIONS.c if column.name not in fixed}
    return adding.on_conflict_do_update(index_elements=["tenant_id", "agent_id", "version_id"], set_=seen)


_KEEP = Query(_keep())


class AgentRepository(Repository):
    """Stores the tenant's agents; fulfils `Catalog`."""

    async def alone(self) -> int:
        """Locks the catalog against other creations and renames, and returns the number of agents."""
        await self._connection.value(_ALONE, {"tenant": self._tenant_id})
        return int(await self._connection.value(_COUNT, self._of()))

    async def id_of(self, name: str) -> str | None:
        """Returns the id of an agent; None when there is none."""
        place = self._place(name)
        query = _IS_THERE if "of_agent_id" in place else _ID
        found: str | None = await self._connection.value(query, place)
        return found

    async def get(self, name: str) -> Agent | None:
        """Returns the agent with its versions."""
        return await self._agent(_GET, name)

    async def locked(self, name: str) -> Agent | None:
        """Returns the agent, locked until this transaction ends."""
        return await self._agent(_LOCK, name)

    async def add(self, agent: Agent) -> None:
        """Adds an agent."""
        await self._connection.change(_ADD, self._values(agent))
        await self._keep(agent, ())

    async def save(self, agent: Agent, previous: Agent) -> None:
        """Stores what has changed."""
        await self._connection.change(_SAVE, {**self._of(agent_id=agent.agent_id), **self._values(agent)})
        await self._keep(agent, previous.versions)

    async def remove(self, agent_id: str) -> None:
        """Removes an agent and its versions."""
        await self._connection.change(_REMOVE_VERSIONS, self._of(agent_id=agent_id))
        await self._connection.change(_REMOVE, self._of(agent_id=agent_id))

    async def page(self, which: AgentFilter, page: Page) -> Sequence[AgentSummary]:
        """Returns a page of agents, newest first."""
        return [_summary(row, 0) for row in await self._listed(listing(self._tenant_id, which, page))]

    async def search(
        self, which: AgentFilter, question: str, most: int, after: tuple[float, str] | None
    ) -> Sequence[AgentSummary]:
        """Returns agents that match a query, the best first."""
        query = searching(self._tenant_id, which, question, most, after)
        if query is None:
            return []
        return [_summary(row, row.rank) for row in await self._connection.all(query)]

    async def named(self, names: Collection[str]) -> Collection[str]:
        """Returns those of the names that are the id or slug of an agent."""
        ids, slugs = [name for name in names if is_id(name)], [name for name in names if storable(name) == name]
        found = await self._connection.all(_NAMED, {**self._of(), "ids": ids, "slugs": slugs})
        return {name for row in found for name in (row.agent_id, row.slug)} & set(names)

    async def tags(self, name: str) -> Collection[str]:
        """Returns the tags of an agent; none when there is no such agent."""
        place = self._place(name)
        found: list[str] | None = await self._connection.value(_TAGS[_named_by(place)], place)
        return found or ()

    async def resolve(self, name: str, number: str | None, alias: str | None) -> ResolvedAgent | None:
        """Resolves a version or an alias."""
        place = self._place(name)
        row = await self._connection.first(_GET[_named_by(place)], place)
        if row is None:
            return None
        if number is not None:
            found = await self._connection.first(_NUMBERED, self._of(agent_id=row.agent_id, number=storable(number)))
        else:
            version_id = row.current_id if alias is None else row.aliases.get(alias)
            of_version = self._of(agent_id=row.agent_id, version_id=version_id)
            found = None if version_id is None else await self._connection.first(_READ, of_version)
        return ResolvedAgent(row.agent_id, _about(row), None if found is None else _version(found))

    async def held(self, agent_id: str, version_id: str) -> AgentVersion | None:
        """Returns a version whose status is locked until this transaction ends."""
        row = await self._connection.first(_HOLD, self._of(agent_id=agent_id, version_id=version_id))
        return None if row is None else _version(row)

    async def _agent(self, queries: dict[str, Query], name: str) -> Agent | None:
        place = self._place(name)
        row = await self._connection.first(queries[_named_by(place)], place)
        if row is None:
            return None
        rows = await self._connection.all(_VERSIONS_OF, self._of(agent_id=row.agent_id))
        # Every agent has a version: one without was removed between the two queries.
        return _agent(row, tuple(map(_version, rows))) if rows else None

    async def _keep(self, agent: Agent, known: Sequence[AgentVersion]) -> None:
        before = {one.version_id: one for one in known}
        for place, version in enumerate(agent.versions):
            if before.get(version.version_id) != version:
                await self._connection.change(_KEEP, self._version_values(agent, version, place))

    def _place(self, name: str) -> dict[str, object]:
        # A slug never has the form of an id, so each name is unambiguous.
        return self._of(agent_id=name.lower()) if is_id(name) else self._of(slug=storable(name))

    def _values(self, agent: Agent) -> dict[str, object]:
        about, latest = agent.about, agent.ordered()[0]
        return {
            "tenant_id": self._tenant_id,
            "agent_id": agent.agent_id,
            "slug": about.slug,
            "name": storable(about.name),
            "description": storable(about.description),
            "category": None if about.category is None else storable(about.category),
            "tags": sorted(map(storable, about.tags)),
            "owner_id": storable(about.owner_id),
            "search": places_of(about),
            "aliases": dict(agent.aliases),
            "current_id": agent.current_id,
            "current_number": None if agent.current is None else agent.current.version_number,
            "latest_number": latest.version_number,
            "latest_status": latest.status.value,
            "statuses": sorted({one.status.value for one in agent.versions}),
            "revision": agent.revision,
            "created_at": agent.created_at,
            "updated_at": agent.updated_at,
        }

    def _version_values(self, agent: Agent, version: AgentVersion, place: int) -> dict[str, object]:
        return {
            "tenant_id": self._tenant_id,
            "agent_id": agent.agent_id,
            "version_id": version.version_id,
            "place": place,
            "number": version.version_number,
            "definition": storable_json(version.definition),
            "changelog": storable(version.changelog),
            "config_hash": version.config_hash,
            "status": version.status.value,
            "transitions": storable_json(_TRANSITIONS.dump(version.transitions)),
            "draining": version.draining,
            "request_id": version.request_id,
            "created_by": storable(version.created_by),
            "created_at": version.created_at,
        }


def _named_by(place: dict[str, object]) -> str:
    return "agent_id" if "of_agent_id" in place else "slug"


def _about(row: Row) -> Description:
    return Description(
        name=row.name,
        slug=row.slug,
        description=row.description,
        category=row.category,
        tags=frozenset(row.tags),
        owner_id=row.owner_id,
    )


def _agent(row: Row, versions: tuple[AgentVersion, ...]) -> Agent:
    return Agent(
        tenant_id=row.tenant_id,
        agent_id=row.agent_id,
        about=_about(row),
        versions=versions,
        created_at=row.created_at,
        updated_at=row.updated_at,
        aliases=row.aliases,
        current_id=row.current_id,
        revision=row.revision,
    )


def _version(row: Row) -> AgentVersion:
    return AgentVersion(
        version_id=row.version_id,
        version_number=row.number,
        definition=_numbers(row.definition),
        changelog=row.changelog,
        created_by=row.created_by,
        created_at=row.created_at,
        config_hash=row.config_hash,
        status=VersionStatus(row.status),
        transitions=_TRANSITIONS.load(row.transitions),
        draining=row.draining,
        request_id=row.request_id,
    )


def _summary(row: Row, rank: float) -> AgentSummary:
    return AgentSummary(
        agent_id=row.agent_id,
        about=_about(row),
        current_number=row.current_number,
        latest_number=row.latest_number,
        latest_status=VersionStatus(row.latest_status),
        created_at=row.created_at,
        updated_at=row.updated_at,
        revision=row.revision,
        rank=rank,
    )


def _numbers(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Restores floats: `jsonb` expands a large float to all its digits, which would come back as an integer."""
    if isinstance(value, dict):
        return {name: _numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return float(value) if isinstance(value, int) and abs(value) > LARGEST_INTEGER else value
