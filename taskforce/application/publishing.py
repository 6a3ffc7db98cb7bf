"""The way of a version from its draft to its approval: asked for here, decided as a request, concluded with it."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.application.agents import Named, act_of, event, locked, told, told_version
from taskforce.application.principals import Actor
from taskforce.core.domain.agent_definitions import Offered
from taskforce.core.domain.agent_versions import LONGEST_COMMENT, Act, AgentVersion, VersionStatus
from taskforce.core.domain.approvals import Approval, ApprovalStatus, Terms, Verdict, content_hash
from taskforce.core.domain.catalog import Agent
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.interfaces.records import Records, Store
from taskforce.core.interfaces.stored import AuditEvent, Request

AGENT_PUBLISH = "agent_publish"
SYSTEM = "system"
CHANGED = "what was decided on is not this version any more"


@dataclass(frozen=True, slots=True)
class Submission:
    """A version that shall be published.

    Attributes:
        version: Its id or its number.
        offered: What its definition may name.
        terms: Under which it is decided.
        comment: Why, for those who decide.
    """

    version: str
    offered: Offered
    terms: Terms
    comment: str = ""


async def submit_version(store: Store, acting: Actor, named: Named, asked: Submission) -> tuple[Agent, Request]:
    """Asks for a version's publication: it does not change any more, and a request for it is open.

    The request's workflow is started after the commit, by whoever called, or by a worker's sweeper.

    Raises:
        Missing: `agent_not_found` or `version_not_found`.
        Stale: `revision_changed`.
        Conflict: `transition_not_allowed` or `definition_has_problems`.
    """
    act, request_id = act_of(acting, asked.comment), new_id()
    async with store.tenant(acting.standing.tenant.tenant_id) as records:
        agent = await locked(records, named)
        changed = agent.submitted(asked.version, act, asked.offered, request_id)
        version = changed.version(asked.version)
        request = _request(changed, version, act, asked.terms, request_id)
        await records.requests.add(request)
        await records.catalog.save(changed, agent)
        said = {"comment": asked.comment, "request_id": request_id, "version": told_version(version)}
        audited = event(acting, "agent.version.submit", changed, **said, before=told(agent), after=told(changed))
        await records.audit.append(audited)
        await records.audit.append(_opened(acting, request))
    return changed, request


async def request_for(store: Store, acting: Actor, name: str, version_id: str, verdict: Verdict) -> Request:
    """The request that a version waits for, if a verdict makes sense now.

    Raises:
        Missing: `agent_not_found`, `version_not_found` or `request_not_found`.
        Conflict: `transition_not_allowed`: it does not wait for one.
    """
    act = act_of(acting)
    async with store.tenant(acting.standing.tenant.tenant_id) as records:
        agent = await records.catalog.get(name)
        if agent is None:
            raise missing("agent")
        version = agent.version(version_id)
        # The rule says whether it could; the request's own end does it.
        (agent.approved if verdict is Verdict.APPROVE else agent.rejected)(version_id, act)
        request = await records.requests.get(version.request_id) if version.request_id else None
    if request is None:
        raise missing("request")
    return request


async def conclude(records: Records, request: Request, status: ApprovalStatus, reason: str, now: datetime) -> None:
    """Does, in the transaction that closes a request, what its end means for the version: there is no other way.

    Args:
        records: The tenant's records.
        request: The request with its decisions.
        status: How it ended; whatever is not an approval makes the version a draft again.
        reason: Why.
        now: The time.
    """
    agent = await records.catalog.locked(request.resource_id)
    version = _waiting(agent, request)
    if agent is None or version is None:
        return
    same = version.config_hash == request.payload.get("config_hash")
    approved = status is ApprovalStatus.APPROVED and same
    verdict = Verdict.APPROVE if status is ApprovalStatus.APPROVED else Verdict.REJECT
    by = ", ".join(one.approver_id for one in request.approval.decisions if one.verdict is verdict) or SYSTEM
    why = (reason or status.value) if same else CHANGED
    act = Act(by, now, why[:LONGEST_COMMENT])
    changed = agent.approved(version.version_id, act) if approved else agent.rejected(version.version_id, act)
    await records.catalog.save(changed, agent)
    await records.audit.append(_concluded(request, changed, version, act, approved=approved))


def _request(agent: Agent, version: AgentVersion, act: Act, terms: Terms, request_id: str) -> Request:
    payload = {
        "agent_id": agent.agent_id,
        "slug": agent.about.slug,
        "version_id": version.version_id,
        "version_number": version.version_number,
        "config_hash": version.config_hash,
        "changelog": version.changelog,
        "definition": version.definition,
    }
    return Request(
        approval=Approval(request_id, act.by, terms, act.at),
        run_id=None,
        step=0,
        call=0,
        request_type=AGENT_PUBLISH,
        resource_type="agent",
        resource_id=agent.agent_id,
        # Operators see it as Markdown: a slug and a number hold none.
        title=f"Publish {agent.about.slug} {version.version_number}",
        payload={**payload, "reason": act.comment},
        content_hash=content_hash(payload),
    )


def _waiting(agent: Agent | None, request: Request) -> AgentVersion | None:
    """The version that waits for this very request; None when it does not any more."""
    try:
        version = None if agent is None else agent.version(str(request.payload.get("version_id")))
    except Missing:
        return None
    waits = version is not None and version.status is VersionStatus.PENDING_APPROVAL
    return version if waits and version and version.request_id == request.approval.request_id else None


def _opened(acting: Actor, request: Request) -> AuditEvent:
    return AuditEvent(
        actor_id=request.approval.requester_id,
        action="approval.request",
        resource_type="approval",
        resource_id=request.approval.request_id,
        outcome="pending",
        at=acting.now,
        request_id=acting.request_id,
        details={"agent_id": request.resource_id, "content_hash": request.content_hash},
    )


def _concluded(request: Request, agent: Agent, version: AgentVersion, act: Act, *, approved: bool) -> AuditEvent:
    return AuditEvent(
        actor_id=act.by,
        on_behalf_of=request.approval.requester_id,
        action="agent.version.approve" if approved else "agent.version.reject",
        resource_type="agent",
        resource_id=agent.agent_id,
        outcome="allowed",
        reason=act.comment,
        channel="worker",
        at=act.at,
        details={
            "approval_id": request.approval.request_id,
            "before": told_version(version),
            "after": told_version(agent.version(version.version_id)),
        },
    )
