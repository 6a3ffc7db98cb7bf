"""Asking for a run."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from api import run_dispatch
from api.agent_selection import AgentSelector, SelectedAgent
from api.auth.caller import Caller, Context
from api.auth.guard import Allowed
from api.auth.resource import agent_named
from api.composition import GatewayContext
from api.run_watch import wait_for_end
from api.schemas.runs import PREFIX, AcceptedOut, ExecuteIn, RunOut, run_links, run_out
from api.web.headers import IdempotencyKey, Patience
from taskforce.application.runs.pinning import MOVED_ON, VersionSelector, find_startable
from taskforce.application.runs.start import AcceptedRun, RunRequest, create_run
from taskforce.core.domain.errors import DomainError, Invalid
from taskforce.core.domain.ids import is_id, missing
from taskforce.core.domain.runs.run import RunStatus
from taskforce.core.interfaces.identity import Permission
from taskforce.infrastructure.logging import bind

router = APIRouter(tags=["runs"])

_ENDED_IN_TIME: dict[int | str, dict[str, Any]] = {
    200: {"model": RunOut, "description": "`Prefer: wait=N`, and the run has ended within that time"}
}


@router.post("/agents/execute", status_code=202, response_model=AcceptedOut, responses=_ENDED_IN_TIME, name="execute")
async def execute(
    asked: ExecuteIn,
    caller: Annotated[Caller, Allowed(Permission.AGENT_EXECUTE, of="agent_id")],
    context: Context,
    request: Request,
    response: Response,
    key: IdempotencyKey,
    patience: Patience,
) -> AcceptedOut | Response:
    """Commits a mission as a run and starts it; with `Prefer: wait=N` answers 200 and the run if it ends in time."""
    chosen, accepted = await _start(context, caller, asked, await request.json(), key)
    response.headers["location"] = f"{PREFIX}/{accepted.run_id}"
    if accepted.replayed:
        response.headers["idempotency-replayed"] = "true"
    elif accepted.brief is not None:
        await run_dispatch.start(context, accepted.brief)
    if chosen.deprecated_at is not None:
        response.headers["deprecation"] = f"@{int(chosen.deprecated_at.timestamp())}"
    if patience:
        response.headers["preference-applied"] = f"wait={patience}"
        run = await wait_for_end(context, caller.tenant_id, accepted.run_id, patience)
        if run is not None:
            whole = run_out(run, context.temporal_ui).model_dump_json()
            return Response(whole, 200, dict(response.headers), "application/json")
    return AcceptedOut(
        run_id=accepted.run_id,
        session_id=accepted.session_id,
        status=RunStatus.QUEUED,
        links=run_links(caller.tenant_id, accepted.run_id, context.temporal_ui),
    )


async def _start(
    context: GatewayContext, caller: Caller, asked: ExecuteIn, body: object, key: str | None
) -> tuple[SelectedAgent, AcceptedRun]:
    chosen = await _choose(context, caller, asked)
    try:
        return chosen, await _accept(context, caller, asked, chosen, body, key)
    except DomainError as error:
        if asked.version is not None or error.code not in MOVED_ON:
            raise
    # The name that led to this version a moment ago leads to another one by now, or to none.
    chosen = await _choose(context, caller, asked)
    return chosen, await _accept(context, caller, asked, chosen, body, key)


async def _accept(
    context: GatewayContext, caller: Caller, asked: ExecuteIn, chosen: SelectedAgent, body: object, key: str | None
) -> AcceptedRun:
    mission = RunRequest(
        tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        mission=asked.mission,
        agent=chosen.agent,
        profile=chosen.profile,
        limits=chosen.limits,
        context=asked.context,
        session_id=asked.session_id,
        idempotency_key=key,
        body=body if isinstance(body, dict) else {},
        request_id=caller.request_id,
        key_id=caller.key_id,
        claimed_roles=caller.principal.claims,
        most_sessions=caller.principal.tenant.settings.max_concurrent_sessions,
    )
    accepted = await create_run(context.database, mission, context.clock())
    bind(run_id=accepted.run_id, session_id=accepted.session_id, agent_id=chosen.agent.agent_id)
    return accepted


async def _choose(context: GatewayContext, caller: Caller, asked: ExecuteIn) -> SelectedAgent:
    means = AgentSelector(
        agent_id=asked.agent_id,
        profile=asked.profile,
        model=asked.model,
        max_steps=asked.max_steps,
        max_tokens=asked.max_tokens,
        max_seconds=asked.max_seconds,
    )
    if asked.agent_id is None or context.agents.knows(asked.agent_id):
        if asked.version is not None or asked.alias is not None:
            raise Invalid("agent_has_no_versions", "The agent of a profile has no versions; leave them out.")
        return context.agents.choose(means)
    # By the id that the caller's rights were looked up for, so that a name that moves meanwhile changes nothing.
    agent_id = caller.thing or await agent_named(context, caller.tenant_id, asked.agent_id)
    if not is_id(agent_id):
        raise missing("agent")
    wanted = VersionSelector(agent_id, asked.version, asked.alias)
    return context.agents.pinned(means, await find_startable(context.database, caller.tenant_id, wanted))
