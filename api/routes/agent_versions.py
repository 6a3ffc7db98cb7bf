"""Routes of an agent's versions: create, revise, submit, publish, retire. The path names a version by id or number."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from api.agent_yaml import YAML_BODY, imported_version, read_body
from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.composition import GatewayContext
from api.routes.agents import PREFIX, etag
from api.schemas.agents import (
    RetiredOut,
    RetirementIn,
    VerdictIn,
    VersionChangeIn,
    VersionCommentIn,
    VersionIn,
    VersionListedOut,
    VersionOut,
    version_listed,
    version_out,
)
from api.schemas.pages import ListOut
from api.web.headers import IdempotencyKey, Seen, mark_replayed
from taskforce.application.approvals.requests import concerning
from taskforce.application.approvals.submissions import DecisionDraft, decide
from taskforce.application.catalog import agents, publishing, versions
from taskforce.application.catalog.agents import Named
from taskforce.application.catalog.publishing import Submission, VerdictPreconditions
from taskforce.application.catalog.versions import InFlight, NewVersion, Retired, Retirement, Revision
from taskforce.application.identity.principals import Actor
from taskforce.application.late_start import start_or_leave
from taskforce.application.runs import control
from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict
from taskforce.core.domain.catalog.agent import Agent
from taskforce.core.domain.catalog.version import AgentVersion
from taskforce.core.domain.ids import missing
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Store
from taskforce.infrastructure.agent_yaml import write_agent


@dataclass(frozen=True, slots=True)
class _OnVersion:
    """Holds the names of a version in a path."""

    named: Named
    version_id: str


router = APIRouter(prefix=f"{PREFIX}/{{agent_id}}/versions", tags=["catalog"])

_AS_YAML: dict[int | str, dict[str, Any]] = {200: {"content": {"application/yaml": {"schema": {"type": "string"}}}}}
Reader = Annotated[Caller, Allowed(Permission.AGENT_READ)]
Decider = Annotated[Caller, Allowed(Permission.AGENT_READ, transient=True)]
Editor = Annotated[Caller, Allowed(Permission.AGENT_UPDATE)]


@router.get("", name="list_versions")
async def list_versions(agent_id: str, caller: Reader, context: Context) -> ListOut[VersionListedOut]:
    """Lists the versions of an agent by number, the highest first."""
    agent = await agents.find_agent(context.database, actor_of(context, caller), agent_id)
    return ListOut[VersionListedOut].model_construct(items=[version_listed(one) for one in agent.ordered()])


@router.post("", status_code=201, name="create_version")
async def create_version(
    agent_id: str, body: VersionIn, caller: Editor, *, context: Context, response: Response, if_match: Seen
) -> VersionOut:
    """Creates a version as a draft; its `problems` say what keeps it from being submitted."""
    new = NewVersion(body.version_number, body.definition, body.changelog)
    return await _drafted(context, caller, Named(agent_id, if_match), new, response)


@router.post("/import", status_code=201, name="import_version", openapi_extra=YAML_BODY)
async def import_version(
    agent_id: str, request: Request, caller: Editor, *, context: Context, response: Response, if_match: Seen
) -> VersionOut:
    """Creates a version from YAML (or JSON) as `.../export` writes it: `version`, `definition` and `changelog`."""
    new = imported_version(await read_body(request))
    return await _drafted(context, caller, Named(agent_id, if_match), new, response)


@router.get("/{version_id}", name="read_version")
async def read_version(
    agent_id: str, version_id: str, caller: Reader, context: Context, response: Response
) -> VersionOut:
    """Returns one version with its definition and its transitions so far."""
    agent = await agents.find_agent(context.database, actor_of(context, caller), agent_id)
    return await _out(context, caller, response, agent, agent.version(version_id))


@router.get("/{version_id}/export", name="export_version", response_class=Response, responses=_AS_YAML)
async def export_version(agent_id: str, version_id: str, caller: Reader, context: Context) -> Response:
    """Exports one version, with the agent's name and description, as YAML that `.../import` takes."""
    agent = await agents.find_agent(context.database, actor_of(context, caller), agent_id)
    version = agent.version(version_id)
    name = f"{agent.about.slug}-{version.version_number}.yaml"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(write_agent(agent, version), headers=headers, media_type="application/yaml")


@router.put("/{version_id}", name="change_version")
async def change_version(
    agent_id: str,
    version_id: str,
    body: VersionChangeIn,
    *,
    caller: Editor,
    context: Context,
    response: Response,
    if_match: Seen,
) -> VersionOut:
    """Changes a draft; a version that was submitted is immutable."""
    new = Revision(body.version_number, body.definition, body.changelog)
    actor, named = actor_of(context, caller), Named(agent_id, if_match)
    # The path may name the version by its number, which this very change may replace; the id stays.
    known_id = (await agents.find_agent(context.database, actor, agent_id)).version(version_id).version_id
    agent = await versions.revise_version(context.database, actor, named, known_id, new)
    return await _out(context, caller, response, agent, agent.version(known_id))


@router.post("/{version_id}/submit", name="submit_version")
async def submit_version(
    agent_id: str,
    version_id: str,
    caller: Editor,
    *,
    context: Context,
    response: Response,
    if_match: Seen,
    body: VersionCommentIn | None = None,
) -> VersionOut:
    """Submits a draft for publication: opens an approval request and freezes the version; 409 with its problems."""
    asked = _submission(context, version_id, body.comment if body else "")
    agent, request = await publishing.submit_version(
        context.database, actor_of(context, caller), Named(agent_id, if_match), asked
    )
    await start_or_leave(lambda: context.workflow_client.approvals.start(caller.tenant_id, request))
    return await _out(context, caller, response, agent, agent.version(version_id))


@router.post("/{version_id}/approve", name="approve_version")
async def approve_version(
    agent_id: str,
    version_id: str,
    caller: Decider,
    *,
    context: Context,
    response: Response,
    key: IdempotencyKey,
    if_match: Seen,
    body: VerdictIn | None = None,
) -> VersionOut:
    """Approves the publication request of a version, as `/admin/requests/{request_id}/approve` does.

    It can be published then. Send the `ETag` or the `config_hash` that you were shown: without either, what is
    requested at this moment is approved.
    """
    on = _OnVersion(Named(agent_id, if_match), version_id)
    return await _decided(context, caller, response, on, verdict=Verdict.APPROVE, sent=body, key=key)


@router.post("/{version_id}/reject", name="reject_version")
async def reject_version(
    agent_id: str,
    version_id: str,
    caller: Decider,
    *,
    context: Context,
    response: Response,
    key: IdempotencyKey,
    if_match: Seen,
    body: VerdictIn | None = None,
) -> VersionOut:
    """Rejects the publication request of a version, which becomes a draft again."""
    on = _OnVersion(Named(agent_id, if_match), version_id)
    return await _decided(context, caller, response, on, verdict=Verdict.REJECT, sent=body, key=key)


@router.post("/{version_id}/publish", name="publish_version")
async def publish_version(
    agent_id: str,
    version_id: str,
    caller: Editor,
    *,
    context: Context,
    response: Response,
    if_match: Seen,
    body: VersionCommentIn | None = None,
) -> VersionOut:
    """Publishes an approved version and makes it the current one; it deprecates no other version."""
    actor, named = actor_of(context, caller), Named(agent_id, if_match)
    comment = body.comment if body else ""
    agent = await versions.publish_version(context.database, actor, named, version_id, comment)
    return await _out(context, caller, response, agent, agent.version(version_id))


@router.post("/{version_id}/deprecate", name="deprecate_version")
async def deprecate_version(
    agent_id: str,
    version_id: str,
    caller: Editor,
    *,
    context: Context,
    response: Response,
    if_match: Seen,
    body: RetirementIn | None = None,
) -> RetiredOut:
    """Deprecates a published version; the answer says what happens to runs in flight."""
    named = Named(agent_id, if_match)
    return await _retired(
        context, caller, response, retire=versions.deprecate_version, named=named, version_id=version_id, body=body
    )


@router.post("/{version_id}/archive", name="archive_version")
async def archive_version(
    agent_id: str,
    version_id: str,
    caller: Editor,
    *,
    context: Context,
    response: Response,
    if_match: Seen,
    body: RetirementIn | None = None,
) -> RetiredOut:
    """Archives a deprecated version, which never runs again; the answer says what happens to runs in flight."""
    named = Named(agent_id, if_match)
    return await _retired(
        context, caller, response, retire=versions.archive_version, named=named, version_id=version_id, body=body
    )


async def _drafted(
    context: GatewayContext, caller: Caller, named: Named, new: NewVersion, response: Response
) -> VersionOut:
    agent, version = await versions.draft_version(context.database, actor_of(context, caller), named, new)
    response.headers["location"] = f"/api/v1{PREFIX}/{agent.agent_id}/versions/{version.version_id}"
    return await _out(context, caller, response, agent, version)


async def _decided(
    context: GatewayContext,
    caller: Caller,
    response: Response,
    on: _OnVersion,
    *,
    verdict: Verdict,
    sent: VerdictIn | None,
    key: str | None,
) -> VersionOut:
    actor, sent, named, version_id = actor_of(context, caller), sent or VerdictIn(), on.named, on.version_id
    agent, request = await publishing.request_for(context.database, actor, named.name, version_id)
    preconditions = VerdictPreconditions(named.seen, sent.config_hash)
    check = partial(publishing.require_waiting, actor, agent, version_id, verdict, preconditions)
    if request is None:
        # Refuses first where the version's status says why there is no request.
        check()
        raise missing("request")
    body = {"verdict": verdict.value, **sent.model_dump(exclude_none=True)}
    draft = DecisionDraft(verdict, sent.comment, key=key, body=body, check=check)
    to_decide = await concerning(context.database, actor, request)
    decided = await decide(context.decision_ports, actor, to_decide, draft)
    if decided.status is not ApprovalStatus.PENDING:
        # The version changes when the workflow closes its request; the answer shows it as it is then.
        await context.workflow_client.approvals.concluded(caller.tenant_id, request.approval.request_id)
    mark_replayed(response, replayed=decided.replayed)
    agent = await agents.find_agent(context.database, actor, named.name)
    return await _out(context, caller, response, agent, agent.version(version_id))


async def _retired(
    context: GatewayContext,
    caller: Caller,
    response: Response,
    *,
    retire: Callable[[Store, Actor, Named, str, Retirement], Awaitable[Retired]],
    named: Named,
    version_id: str,
    body: RetirementIn | None,
) -> RetiredOut:
    said = body or RetirementIn()
    how = Retirement(said.in_flight, said.release, said.comment)
    retired = await retire(context.database, actor_of(context, caller), named, version_id, how)
    cancels = how.in_flight is InFlight.CANCEL
    cancelled = await control.cancel_all(context.control_ports, caller.tenant_id, retired.open_runs) if cancels else 0
    version = retired.agent.version(version_id)
    return RetiredOut.model_construct(
        version=await _out(context, caller, response, retired.agent, version),
        open_runs=len(retired.open_runs),
        cancelled_runs=cancelled,
    )


async def _out(
    context: GatewayContext, caller: Caller, response: Response, agent: Agent, version: AgentVersion
) -> VersionOut:
    response.headers["etag"] = etag(agent)
    actor, asked = actor_of(context, caller), _submission(context, version.version_id)
    return version_out(agent, version, await publishing.draft_problems(context.database, actor, agent, version, asked))


def _submission(context: GatewayContext, version: str, comment: str = "") -> Submission:
    return Submission(version, context.offered(), context.agents.terms(), comment, context.definitions)
