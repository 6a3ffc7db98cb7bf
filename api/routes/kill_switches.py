"""Routes of kill switches: they halt the runs of an agent, of a tenant or of the whole installation."""

from typing import Annotated

from fastapi import APIRouter

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.auth.resource import agent_named
from api.composition import GatewayContext
from api.schemas.kill_switches import PREFIX, KillSwitchIn, KillSwitchOut, kill_switch_out
from api.schemas.pages import PageOut
from api.web.pagination import Cursor, Limit, page, parse_text, text_cursor
from taskforce.application.catalog import agents
from taskforce.application.runs import kill_switches
from taskforce.core.domain.runs.kill_switches import SwitchScope, SwitchTarget
from taskforce.core.interfaces.identity import Permission

router = APIRouter(prefix=PREFIX, tags=["kill switches"])

Manager = Annotated[Caller, Allowed(Permission.TENANT_MANAGE)]
Editor = Annotated[Caller, Allowed(Permission.AGENT_UPDATE)]


def _installation(caller: Caller) -> SwitchTarget:
    return SwitchTarget(caller.tenant_id, SwitchScope.INSTALLATION)


def _own(caller: Caller) -> SwitchTarget:
    return SwitchTarget(caller.tenant_id, SwitchScope.TENANT)


def _of_tenant(tenant_id: str) -> SwitchTarget:
    return SwitchTarget(tenant_id, SwitchScope.TENANT_BY_OPERATOR)


@router.get("", name="list_switches")
async def list_switches(
    caller: Manager, context: Context, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[KillSwitchOut]:
    """Lists the pulled kill switches of the caller's tenant and that of the installation.

    The platform's operator sees those of all tenants. They are ordered by tenant, scope and agent.
    """
    actor, after = actor_of(context, caller), _place(parse_text(cursor))
    found = await kill_switches.list_switches(context.database, context.database, actor, after, limit + 1)
    shown = (kill_switch_out(one.tenant_id, one.switch) for one in found[:limit])
    kind = PageOut[KillSwitchOut]
    return page(kind, shown, found=found, limit=limit, cursor_of=lambda last: text_cursor("/".join(last.place)))


def _place(text: str | None) -> tuple[str, str, str] | None:
    if text is None:
        return None
    # Neither tenants' ids nor scopes hold a slash; any other text is a place too, of which nothing has to be there.
    tenant_id, _, rest = text.partition("/")
    scope, _, agent_id = rest.partition("/")
    return tenant_id, scope, agent_id


@router.put("/installation", name="pull_installation_switch")
async def pull_installation_switch(body: KillSwitchIn, caller: Manager, context: Context) -> KillSwitchOut:
    """Halts the whole installation; only the platform's operator may. See `pull_tenant_switch`."""
    return await _pull(context, caller, _installation(caller), body)


@router.get("/installation", name="read_installation_switch")
async def read_installation_switch(caller: Manager, context: Context) -> KillSwitchOut:
    """Returns the kill switch of the installation, if it is pulled: by whom, when and why."""
    return await _read(context, caller, _installation(caller))


@router.delete("/installation", status_code=204, name="release_installation_switch")
async def release_installation_switch(caller: Manager, context: Context) -> None:
    """Lets the kill switch of the installation go; only the platform's operator may."""
    await _release(context, caller, _installation(caller))


@router.put("/tenant", name="pull_tenant_switch")
async def pull_tenant_switch(body: KillSwitchIn, caller: Manager, context: Context) -> KillSwitchOut:
    """Halts the caller's tenant: no step of its runs begins any more, and no run starts (503 `halted`).

    Runs that are under way wait, without an end and without counting the time, and go on when the switch is let go; a
    cancelled one ends. A model call or tool that has begun is not interrupted. A switch that is pulled already stays as
    it is, with who pulled it and why.
    """
    return await _pull(context, caller, _own(caller), body)


@router.get("/tenant", name="read_tenant_switch")
async def read_tenant_switch(caller: Manager, context: Context) -> KillSwitchOut:
    """Returns the kill switch of the caller's tenant, if it is pulled."""
    return await _read(context, caller, _own(caller))


@router.delete("/tenant", status_code=204, name="release_tenant_switch")
async def release_tenant_switch(caller: Manager, context: Context) -> None:
    """Lets the kill switch of the caller's tenant go; one that the platform's operator pulled stays."""
    await _release(context, caller, _own(caller))


@router.put("/tenants/{tenant_id}", name="pull_operator_switch")
async def pull_operator_switch(tenant_id: str, body: KillSwitchIn, caller: Manager, context: Context) -> KillSwitchOut:
    """Halts any tenant, which its own administrators cannot let go; only the platform's operator may."""
    return await _pull(context, caller, _of_tenant(tenant_id), body)


@router.get("/tenants/{tenant_id}", name="read_operator_switch")
async def read_operator_switch(tenant_id: str, caller: Manager, context: Context) -> KillSwitchOut:
    """Returns the kill switch that the platform's operator pulled for a tenant; a tenant reads its own."""
    return await _read(context, caller, _of_tenant(tenant_id))


@router.delete("/tenants/{tenant_id}", status_code=204, name="release_operator_switch")
async def release_operator_switch(tenant_id: str, caller: Manager, context: Context) -> None:
    """Lets the operator's kill switch of a tenant go; only the platform's operator may."""
    await _release(context, caller, _of_tenant(tenant_id))


@router.put("/agents/{agent_id}", name="pull_agent_switch")
async def pull_agent_switch(agent_id: str, body: KillSwitchIn, caller: Editor, context: Context) -> KillSwitchOut:
    """Halts one agent, named by its id or its slug. See `pull_tenant_switch`."""
    target = await _of_agent(context, caller, agent_id)
    # Only to refuse a name that no agent has: its switch would halt nothing, and nobody would notice.
    if not context.agents.knows(target.agent_id):
        await agents.find_agent(context.database, actor_of(context, caller), target.agent_id)
    return await _pull(context, caller, target, body)


@router.get("/agents/{agent_id}", name="read_agent_switch")
async def read_agent_switch(agent_id: str, caller: Editor, context: Context) -> KillSwitchOut:
    """Returns the kill switch of one agent, if it is pulled."""
    return await _read(context, caller, await _of_agent(context, caller, agent_id))


@router.delete("/agents/{agent_id}", status_code=204, name="release_agent_switch")
async def release_agent_switch(agent_id: str, caller: Editor, context: Context) -> None:
    """Lets the kill switch of one agent go."""
    await _release(context, caller, await _of_agent(context, caller, agent_id))


async def _of_agent(context: GatewayContext, caller: Caller, name: str) -> SwitchTarget:
    agent_id = await agent_named(context, caller.tenant_id, name)
    return SwitchTarget(caller.tenant_id, SwitchScope.AGENT, agent_id)


async def _pull(context: GatewayContext, caller: Caller, target: SwitchTarget, body: KillSwitchIn) -> KillSwitchOut:
    actor = actor_of(context, caller)
    pulled = await kill_switches.pull_switch(context.database, actor, target, body.reason)
    return kill_switch_out(target.tenant_id, pulled)


async def _read(context: GatewayContext, caller: Caller, target: SwitchTarget) -> KillSwitchOut:
    found = await kill_switches.find_switch(context.database, actor_of(context, caller), target)
    return kill_switch_out(target.tenant_id, found)


async def _release(context: GatewayContext, caller: Caller, target: SwitchTarget) -> None:
    await kill_switches.release_switch(context.database, actor_of(context, caller), target)
