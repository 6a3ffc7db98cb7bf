"""Routes of runs: read them, and cancel, pause, resume or message those in progress."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed, may
from api.auth.resource import agent_named
from api.composition import GatewayContext
from api.schemas.pages import PageOut
from api.schemas.runs import MessageIn, RunOut, WordOut, run_out
from api.web.headers import IdempotencyKey, mark_replayed
from api.web.pagination import Cursor, Limit, page, parse_place, place_cursor
from taskforce.application.access.authorization import differing_attributes, filter_allowed
from taskforce.application.metering.budgets import budgets_of_run
from taskforce.application.runs import control, history
from taskforce.application.runs.control import MessageDraft, mark, send_message
from taskforce.application.runs.lifecycle import require_run
from taskforce.application.runs.message_signals import tell_run
from taskforce.core.domain.ids import missing, parse_id
from taskforce.core.domain.metering.budget_ledgers import Ledger
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.records import RunFilter
from taskforce.core.domain.runs.run import Run, RunStatus
from taskforce.core.interfaces.identity import Permission
from taskforce.infrastructure.logging import bind

router = APIRouter(prefix="/runs", tags=["runs"])

Reader = Annotated[Caller, Allowed(Permission.SESSION_READ)]
Operator = Annotated[Caller, Allowed(Permission.AGENT_EXECUTE, transient=True)]
_Printable = r"^[ -~]{1,200}$"


async def budgets_drawn_on(context: GatewayContext, caller: Caller, run: Run) -> Sequence[Ledger]:
    """Returns the ledgers that a run draws on, to its user and to those who read budgets; none where it has ended."""
    reads = run.spec.user_id == caller.user_id or Permission.AUDIT_READ in caller.permissions
    if run.status.is_final or not reads:
        return ()
    tenant, books = caller.principal.tenant, context.use_cases.budget_books
    return await budgets_of_run(context.database, books, tenant, run.spec.run_id, context.clock())


async def find_run(context: GatewayContext, caller: Caller, run_id: str) -> Run:
    """Returns the run if the caller's tenant has it.

    Raises:
        Missing: `run_not_found`.
    """
    run = await require_run(context.database, caller.tenant_id, parse_id(run_id, "run"))
    bind(run_id=run.spec.run_id, session_id=run.spec.session_id, agent_id=run.spec.agent.agent_id)
    return run


def run_filter(
    status: Annotated[RunStatus | None, Query()] = None,
    session_id: Annotated[str | None, Query(pattern=_Printable)] = None,
    agent_id: Annotated[str | None, Query(pattern=_Printable)] = None,
) -> RunFilter:
    """Builds the filter of a run list from the query parameters."""
    return RunFilter(status=status, session_id=session_id, agent_id=agent_id)


@router.get("", name="list_runs")
async def list_runs(
    caller: Reader,
    context: Context,
    which: Annotated[RunFilter, Depends(run_filter)],
    *,
    mine: Annotated[bool, Query(description="Only the caller's own")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> PageOut[RunOut]:
    """Lists the tenant's runs, newest first.

    A page may be short although there is a next one: sessions that the tenant's policy denies are passed over.
    """
    # Runs of catalog agents are stored under the agent's id: a slug may change, and another agent may take it.
    named = None if which.agent_id is None else await agent_named(context, caller.tenant_id, which.agent_id)
    wanted = RunFilter(which.status, which.session_id, named, caller.user_id if mine else None)
    found = await history.list_runs(
        context.database, actor_of(context, caller), wanted, Page(limit + 1, parse_place(cursor))
    )
    known = await filter_allowed(
        context.policies,
        caller.principal,
        Permission.SESSION_READ,
        found[:limit],
        named=lambda run: run.spec.session_id,
        facts=caller.facts,
    )
    shown = (run_out(run, context.temporal_ui, listed=True) for run in known)
    return page(PageOut[RunOut], shown, found=found, limit=limit, cursor_of=_place)


@router.get("/{run_id}", name="read_run")
async def read_run(run_id: str, caller: Reader, context: Context) -> RunOut:
    """Returns one run. Of an answer above 100,000 characters it has an excerpt; `answer_result` links to the whole."""
    run = await find_run(context, caller, run_id)
    whole = await history.read_answer_step(context.database, run)
    return run_out(run, context.temporal_ui, whole_answer=whole, budgets=await budgets_drawn_on(context, caller, run))


@router.post("/{run_id}/cancel", status_code=202, name="cancel_run")
async def cancel_run(run_id: str, caller: Operator, context: Context) -> RunOut:
    """Requests the cancellation of a run: nothing more begins; its model call and its tools are cancelled too."""
    run = await _find_to_steer(context, caller, run_id)
    await control.request_cancellation(context.control_ports, actor_of(context, caller), run)
    return run_out(await find_run(context, caller, run_id), context.temporal_ui)


@router.post("/{run_id}/pause", status_code=202, name="pause_run")
async def pause_run(run_id: str, caller: Operator, context: Context) -> RunOut:
    """Pauses a run before its next step."""
    return await _signal(context, caller, run_id, "pause")


@router.post("/{run_id}/resume", status_code=202, name="resume_run")
async def resume_run(run_id: str, caller: Operator, context: Context) -> RunOut:
    """Resumes a paused run."""
    return await _signal(context, caller, run_id, "resume")


@router.post("/{run_id}/messages", status_code=202, name="message_run")
async def message_run(
    run_id: str, message: MessageIn, caller: Operator, *, context: Context, response: Response, key: IdempotencyKey
) -> WordOut:
    """Adds a message to a run; the model reads it before the next step, or it answers an open question of the run.

    A message answers one question: the one whose `question_id` it names (404 `question_not_found`, 409
    `question_answered`), else the open one that has waited longest. A message that is sent while no question is open
    answers none. A run that is to be cancelled takes no message (409 `run_cancelled`): no step would read it.

    Only the run's owner may: a run acts with its owner's rights, and a message steers it. Others who may read the run
    are answered 403 with the code `not_your_run`; they can still cancel, pause and resume it.
    """
    run = await _find_to_steer(context, caller, run_id)
    attributes = await differing_attributes(context.policies, caller.principal)
    draft = MessageDraft(message.text, key, message.question_id, attributes)
    stored = await send_message(context.database, actor_of(context, caller), run, draft)
    if stored.is_unsignalled:
        await tell_run(context.control_ports, run, stored, context.clock)
    mark_replayed(response, replayed=stored.replayed)
    context.live.changed(run.spec.tenant_id, run.spec.run_id)
    return WordOut(word_id=stored.message_id, question_id=stored.question)


async def _find_to_steer(context: GatewayContext, caller: Caller, run_id: str) -> Run:
    """Returns the run if it is the caller's own or one that the caller may read: the answer of the route shows it."""
    run = await find_run(context, caller, run_id)
    # Who may start agents need not see other people's runs, and steers none that they do not see.
    own = run.spec.user_id == caller.user_id
    if own or await may(context, caller, Permission.SESSION_READ, run.spec.session_id):
        return run
    # As for an id that is not there: a refusal would say that it is.
    raise missing("run")


def _place(run: Run) -> str:
    return place_cursor(run.spec.created_at, run.spec.run_id)


async def _signal(context: GatewayContext, caller: Caller, run_id: str, signal: str) -> RunOut:
    run = await _find_to_steer(context, caller, run_id)
    await mark(context.database, actor_of(context, caller), run, f"run.{signal}")
    await control.signal(context.control_ports, run, signal)
    return run_out(await find_run(context, caller, run_id), context.temporal_ui)
