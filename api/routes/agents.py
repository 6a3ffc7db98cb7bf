"""Routes of the catalog: agents are created, searched, changed, cloned and removed; aliases lead to their versions."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from api.agent_yaml import YAML_BODY, imported_agent, read_body
from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed, require_on
from api.composition import GatewayContext
from api.schemas.agents import (
    AgentChangeIn,
    AgentIn,
    AgentListedOut,
    AgentOut,
    AliasIn,
    CloneIn,
    DiffOut,
    Label,
    RollbackIn,
    agent_out,
    agent_summary_out,
    change_out,
    version_listed,
)
from api.schemas.pages import PageOut
from api.web.headers import Seen
from api.web.pagination import Cursor, Limit, page, parse_place, parse_rank, place_cursor, rank_cursor
from taskforce.application.access.authorization import filter_allowed
from taskforce.application.catalog import agents, versions
from taskforce.application.catalog.agents import AgentChange, Named, NewAgent
from taskforce.core.domain.catalog.agent import Agent, labels
from taskforce.core.domain.catalog.definition_diff import differences
from taskforce.core.domain.catalog.version import VersionStatus
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.repositories.catalog import AgentFilter, AgentSummary

PREFIX = "/admin/agents"
router = APIRouter(prefix=PREFIX, tags=["catalog"])

Creator = Annotated[Caller, Allowed(Permission.AGENT_CREATE)]
Reader = Annotated[Caller, Allowed(Permission.AGENT_READ)]
Editor = Annotated[Caller, Allowed(Permission.AGENT_UPDATE)]
Remover = Annotated[Caller, Allowed(Permission.AGENT_DELETE)]
Question = Annotated[str | None, Query(max_length=500, description="Words of name, description or tags; beginnings do")]
VersionName = Annotated[str | None, Query(min_length=1, max_length=64, description="Id or number of a version")]


def wanted_agents(
    category: Annotated[str | None, Query(max_length=100)] = None,
    tag: Annotated[list[Label] | None, Query(max_length=50, description="Agents with one of these tags")] = None,
    status: Annotated[VersionStatus | None, Query(description="Agents with a version in this status")] = None,
    owner_id: Annotated[str | None, Query(max_length=255)] = None,
) -> AgentFilter:
    """Builds the filter of an agent list from the query parameters."""
    return AgentFilter(category, labels(tag or ()), status, owner_id)


Which = Annotated[AgentFilter, Depends(wanted_agents)]


@router.get("", name="list_agents")
async def list_agents(
    caller: Reader, context: Context, which: Which, *, q: Question = None, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[AgentListedOut]:
    """Lists agents, newest first; with a search query `q`, those that match it, the best match first.

    A page may be short although there is a next one: agents that the tenant's policy denies are passed over.
    """
    actor = actor_of(context, caller)
    if q is None:
        found = await agents.list_agents(context.database, actor, which, Page(limit + 1, parse_place(cursor)))
    else:
        found = await agents.search_agents(context.database, actor, which, q, most=limit + 1, after=parse_rank(cursor))
    known = await filter_allowed(
        context.policies,
        caller.principal,
        Permission.AGENT_READ,
        found[:limit],
        named=lambda agent: agent.agent_id,
        facts=caller.facts,
    )
    shown = map(agent_summary_out, known)
    ranked = q is not None
    return page(
        PageOut[AgentListedOut], shown, found=found, limit=limit, cursor_of=lambda last: _place(last, ranked=ranked)
    )


@router.post("", status_code=201, name="create_agent")
async def create_agent(body: AgentIn, caller: Creator, context: Context, response: Response) -> AgentOut:
    """Creates an agent with a first draft, 0.1.0; the tenant's `max_agents` bounds how many agents it has."""
    new = _new(body, body.defined)
    return _made(
        response, await agents.create_agent(context.database, actor_of(context, caller), new, context.agents.ids())
    )


@router.post("/import", status_code=201, name="import_agent", openapi_extra=YAML_BODY)
async def import_agent(request: Request, caller: Creator, context: Context, response: Response) -> AgentOut:
    """Creates an agent from YAML (or JSON) as `.../export` writes it; its first draft has the number 0.1.0."""
    new = imported_agent(await read_body(request))
    return _made(
        response, await agents.create_agent(context.database, actor_of(context, caller), new, context.agents.ids())
    )


@router.get("/{agent_id}", name="read_agent")
async def read_agent(agent_id: str, caller: Reader, context: Context, response: Response) -> AgentOut:
    """Returns one agent, named by its id or its slug, with its versions; the `ETag` is for `If-Match`."""
    return _seen(response, await agents.find_agent(context.database, actor_of(context, caller), agent_id))


@router.put("/{agent_id}", name="change_agent")
async def change_agent(
    agent_id: str, body: AgentChangeIn, caller: Editor, *, context: Context, response: Response, if_match: Seen
) -> AgentOut:
    """Changes an agent's name, description, category and tags, and its slug."""
    wanted = AgentChange(**body.model_dump(exclude={"tags"}), tags=None if body.tags is None else labels(body.tags))
    named = Named(agent_id, if_match)
    actor, reserved = actor_of(context, caller), context.agents.ids()
    return _seen(response, await agents.change_agent(context.database, actor, named, wanted, reserved))


@router.delete("/{agent_id}", status_code=204, name="remove_agent")
async def remove_agent(agent_id: str, caller: Remover, context: Context, if_match: Seen) -> None:
    """Removes an agent whose versions are drafts or archived, and of which no run is open."""
    await agents.remove_agent(context.database, actor_of(context, caller), Named(agent_id, if_match))


@router.post("/{agent_id}/clone", status_code=201, name="clone_agent")
async def clone_agent(agent_id: str, body: CloneIn, caller: Creator, context: Context, response: Response) -> AgentOut:
    """Clones an agent; the first draft is its current version, or its highest where none is published."""
    source = await _read_also(context, caller, agent_id)
    actor = actor_of(context, caller)
    made = await agents.clone_agent(context.database, actor, source.agent_id, _new(body, {}), context.agents.ids())
    return _made(response, made)


@router.get("/{agent_id}/diff", name="diff_versions")
async def diff_versions(
    agent_id: str,
    caller: Reader,
    context: Context,
    before: Annotated[VersionName, Query(alias="from")] = None,
    after: Annotated[VersionName, Query(alias="to")] = None,
) -> DiffOut:
    """Compares two versions; without names, the current one with the highest."""
    agent = await agents.find_agent(context.database, actor_of(context, caller), agent_id)
    first = agent.version(before) if before is not None else agent.current or agent.ordered()[-1]
    second = agent.version(after) if after is not None else agent.ordered()[0]
    changes = differences(first.definition, second.definition)
    return DiffOut.model_construct(
        before=version_listed(first), after=version_listed(second), changes=[change_out(one) for one in changes]
    )


@router.put("/{agent_id}/aliases/{alias}", name="point_alias")
async def point_alias(
    agent_id: str, alias: str, body: AliasIn, *, caller: Editor, context: Context, response: Response, if_match: Seen
) -> AgentOut:
    """Points an alias such as `stable` to a published version, wherever it pointed before."""
    named = Named(agent_id, if_match)
    return _seen(
        response, await agents.point_alias(context.database, actor_of(context, caller), named, alias, body.version)
    )


@router.delete("/{agent_id}/aliases/{alias}", status_code=204, name="remove_alias")
async def remove_alias(agent_id: str, alias: str, caller: Editor, context: Context, if_match: Seen) -> None:
    """Removes an alias."""
    await agents.remove_alias(context.database, actor_of(context, caller), Named(agent_id, if_match), alias)


@router.post("/{agent_id}/rollback", name="roll_back_agent")
async def roll_back(
    agent_id: str,
    caller: Editor,
    context: Context,
    *,
    response: Response,
    if_match: Seen,
    body: RollbackIn | None = None,
) -> AgentOut:
    """Makes an earlier published version the current one again."""
    back = body or RollbackIn()
    actor, named = actor_of(context, caller), Named(agent_id, if_match)
    agent = await versions.roll_back(context.database, actor, named, back.version, back.comment)
    return _seen(response, agent)


def etag(agent: Agent) -> str:
    """Returns the entity tag of an agent together with all of its versions."""
    return f'"{agent.revision}"'


def _seen(response: Response, agent: Agent) -> AgentOut:
    response.headers["etag"] = etag(agent)
    return agent_out(agent)


def _made(response: Response, agent: Agent) -> AgentOut:
    response.headers["location"] = f"/api/v1{PREFIX}/{agent.agent_id}"
    return _seen(response, agent)


def _new(body: CloneIn, definition: dict[str, Any]) -> NewAgent:
    return NewAgent(
        name=body.name,
        definition=definition,
        slug=body.slug,
        description=body.description,
        category=body.category,
        tags=None if body.tags is None else labels(body.tags),
        owner_id=body.owner_id,
    )


async def _read_also(context: GatewayContext, caller: Caller, name: str) -> Agent:
    agent = await agents.find_agent(context.database, actor_of(context, caller), name)
    # The guard has checked the right to create agents; to read the one that is copied is another.
    await require_on(context, caller, Permission.AGENT_READ, agent.agent_id)
    return agent


def _place(last: AgentSummary, *, ranked: bool) -> str:
    return rank_cursor(last.rank, last.agent_id) if ranked else place_cursor(last.created_at, last.agent_id)
