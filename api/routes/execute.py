"""Route that starts a run."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.run_watch import wait_for_end
from api.schemas.runs import PREFIX, AcceptedOut, ExecuteIn, RunOut, run_links, run_out
from api.web.headers import IdempotencyKey, WaitSeconds, mark_budgets, mark_replayed
from taskforce.application.metering.budgets import budgets_of_run
from taskforce.application.runs.start import RunRequest, start_run
from taskforce.core.domain.runs.run import RunStatus
from taskforce.core.domain.runs.selection import AgentSelector
from taskforce.core.interfaces.identity import Permission
from taskforce.infrastructure.logging import bind

router = APIRouter(tags=["runs"])

_ENDED_IN_TIME: dict[int | str, dict[str, Any]] = {
    200: {"model": RunOut, "description": "`Prefer: wait=N`, and the run has ended within that time"}
}


@router.post("/agents/execute", status_code=202, response_model=AcceptedOut, responses=_ENDED_IN_TIME, name="execute")
async def execute(
    body: ExecuteIn,
    caller: Annotated[Caller, Allowed(Permission.AGENT_EXECUTE, of="agent_id", transient=True)],
    context: Context,
    *,
    request: Request,
    response: Response,
    key: IdempotencyKey,
    wait: WaitSeconds,
) -> AcceptedOut | Response:
    """Stores a mission as a run and starts it; with `Prefer: wait=N` answers 200 and the run if it ends in time.

    Where the caller, or its tenant, has too many such requests open, the preference is not applied: 202 at once.
    """
    # An idempotency key goes with the body as it was sent, before defaults: that is what a client repeats.
    run_request = _run_request(body, await request.json(), key, caller)
    started = await start_run(context.run_ports, actor_of(context, caller), run_request)
    bind(run_id=started.run_id, session_id=started.session_id, agent_id=started.agent_id)
    response.headers["location"] = f"{PREFIX}/{started.run_id}"
    mark_replayed(response, replayed=started.replayed)
    if started.deprecated_at is not None:
        # RFC 9745, section 2.1: a date in Unix seconds after an @.
        response.headers["deprecation"] = f"@{int(started.deprecated_at.timestamp())}"
    if started.agent_id is not None:
        tenant, books = caller.principal.tenant, context.use_cases.budget_books
        drawn = await budgets_of_run(context.database, books, tenant, started.run_id, context.clock())
        mark_budgets(response, drawn)
    if wait and (place := context.in_flight.waits.offer(caller.tenant_id, caller.user_id)) is not None:
        response.headers["preference-applied"] = f"wait={wait}"
        with place:
            run = await wait_for_end(context, caller.tenant_id, started.run_id, wait)
        if run is not None:
            # A response that is returned replaces the injected one, so it takes its headers along.
            whole = run_out(run, context.temporal_ui).model_dump_json()
            return Response(whole, 200, dict(response.headers), "application/json")
    return AcceptedOut(
        run_id=started.run_id,
        session_id=started.session_id,
        status=RunStatus.QUEUED,
        links=run_links(caller.tenant_id, started.run_id, context.temporal_ui),
    )


def _run_request(asked: ExecuteIn, body: object, key: str | None, caller: Caller) -> RunRequest:
    return RunRequest(
        asked.mission,
        AgentSelector(
            agent_id=asked.agent_id,
            version=asked.version,
            alias=asked.alias,
            profile=asked.profile,
            model=asked.model,
            max_steps=asked.max_steps,
            max_tokens=asked.max_tokens,
            max_seconds=asked.max_seconds,
        ),
        context=asked.context,
        session_id=asked.session_id,
        idempotency_key=key,
        body=body if isinstance(body, dict) else {},
        facts=caller.facts,
        tags=asked.tags,
    )
