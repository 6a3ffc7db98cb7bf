"""The way of a version from its draft to its approval: asked for here, decided as a request, concluded with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from taskforce.application.agents import Named, act_of, event, locked, require_seen, told, told_version
from taskforce.application.approval_definitions import definitions_of
from taskforce.application.asking import Wanted, commit
from taskforce.application.deciding import SUBJECT_CHANGED
from taskforce.application.policy_documents import policy_now
from taskforce.application.principals import Actor, standing_by
from taskforce.application.rights import context_of, judge, widened
from taskforce.application.subjects import Anything
from taskforce.core.domain.access import AccessRules
from taskforce.core.domain.agent_definitions import Offered
from taskforce.core.domain.agent_versions import LONGEST_COMMENT, Act, AgentVersion, VersionStatus
from taskforce.core.domain.approval_definitions import DefinitionRules, choose
from taskforce.core.domain.approval_terms import Terms
from taskforce.core.domain.approvals import ApprovalStatus, Verdict
from taskforce.core.domain.catalog import Agent
from taskforce.core.domain.errors import Conflict, Missing
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.policies import Resource, evaluate
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.records import Records, Store
from taskforce.core.interfaces.stored import AuditEvent, Request

AGENT_PUBLISH = "agent_publish"
SYSTEM = "system"
_FACTS: Mapping[str, object] = {"channel": "worker"}
CHANGED = "what was decided on is not this version any more"


@dataclass(frozen=True, slots=True)
class Submission:
    """A version that shall be published.

    Attributes:
        version: Its id or its number.
        offered: What its definition may name.
        terms: Under which it is decided where no definition says otherwise.
        comment: Why, for those who decide.
        rules: What the deployment says about approvals.
    """

    version: str
    offered: Offered
    terms: Terms
    comment: str = ""
    rules: DefinitionRules = field(default_factory=DefinitionRules)


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
        terms, definition_id = await _terms(records, changed, asked)
        request = await commit(records, acting, _wanted(changed, version, act, terms, definition_id), request_id)
        await records.catalog.save(changed, agent)
        said = {"comment": asked.comment, "request_id": request_id, "version": told_version(version)}
        audited = event(acting, "agent.version.submit", changed, **said, before=told(agent), after=told(changed))
        await records.audit.append(audited)
    return changed, request


async def _terms(records: Records, agent: Agent, asked: Submission) -> tuple[Terms, str | None]:
    """Those of the tenant's definition; without one the usual ones, under which an approved version waits."""
    rules = asked.rules
    definitions = await definitions_of(records, rules.definitions, signals=rules.signals)
    chosen = choose(definitions, AGENT_PUBLISH, agent=(agent.agent_id, agent.about.slug))
    if chosen is None:
        return replace(asked.terms, carries_out=False), None
    return chosen.own_terms, chosen.definition_id


async def request_for(store: Store, acting: Actor, name: str, version_id: str) -> tuple[Agent, Request | None]:
    """An agent, and the request that was made last for one of its versions.

    Raises:
        Missing: `agent_not_found` or `version_not_found`.
    """
    async with store.tenant(acting.standing.tenant.tenant_id) as records:
        agent = await records.catalog.get(name)
        if agent is None:
            raise missing("agent")
        version = agent.version(version_id)
        return agent, await records.requests.get(version.request_id) if version.request_id else None


@dataclass(frozen=True, slots=True)
class Read:
    """What an approver has read; None does not say.

    Attributes:
        revisions: Of which one is the agent's.
        config_hash: The version's.
    """

    revisions: frozenset[int] | None = None
    config_hash: str | None = None


def require_waiting(acting: Actor, agent: Agent, version_id: str, verdict: Verdict, read: Read) -> None:
    """Refuses a verdict on what the approver has not read, or on a version that waits for none.

    The rule says whether it could be; the request's end does it.

    Raises:
        Stale: `revision_changed`.
        Conflict: `content_changed`; `transition_not_allowed`.
    """
    require_seen(agent, read.revisions)
    if read.config_hash not in (None, agent.version(version_id).config_hash):
        raise Conflict("content_changed", "The version is not what you were shown. Read it again.")
    (agent.approved if verdict is Verdict.APPROVE else agent.rejected)(version_id, act_of(acting))


class Publications(Anything):
    """What a request for publication is about, for the engine that decides it: there is no other way to published.

    Args:
        rules: What the deployment says about rights.
    """

    def __init__(self, rules: AccessRules) -> None:
        self._rules = rules

    async def content(self, records: Records, request: Request) -> str | None:
        """What was asked for, as long as this version waits for this request unchanged."""
        version = _waiting(await records.catalog.get(request.resource_id), request)
        same = version is not None and version.config_hash == request.payload.get("config_hash")
        return request.content_hash if same else None

    async def closed(
        self, records: Records, request: Request, status: ApprovalStatus, reason: str, now: datetime
    ) -> None:
        """Approves the version, or makes it a draft again, in the transaction that closes its request."""
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
        action = "agent.version.approve" if approved else "agent.version.reject"
        await records.audit.append(_concluded(action, request, changed, version, act))

    async def carry_out(self, records: Records, request: Request, now: datetime) -> str | None:
        """Publishes the version with its requester's rights of now; without them it waits for somebody else.

        Raises:
            Forbidden: The requester, or the key that submitted it, may not do that any more.
            Conflict: `subject_changed`.
        """
        agent = await records.catalog.locked(request.resource_id)
        version = None if agent is None else _named(agent, request)
        if agent is None or version is None or not _approved_by(request, version):
            raise Conflict(SUBJECT_CHANGED, "The version is not there any more, or was published meanwhile.")
        await self._require_right(records, request, agent, now)
        act = Act(request.approval.requester_id, now, "approved")
        changed = agent.published(version.version_id, act)
        await records.catalog.save(changed, agent)
        audited = _concluded("agent.version.publish", request, changed, version, act)
        await records.audit.append(replace(audited, key_id=request.key_id))
        return f"Version {version.version_number} was published."

    async def _require_right(self, records: Records, request: Request, agent: Agent, now: datetime) -> None:
        """Asks anew what a route would ask: an approval of days ago gives its requester no right."""
        who = await standing_by(records, request.approval.requester_id, request.key_id, self._rules, now)
        if not who.is_cut:
            who = await widened(records, who, ResourceType.AGENT, agent.agent_id, self._rules, now)
        policy, needed = await policy_now(records), Permission.AGENT_UPDATE
        what = Resource(ResourceType.AGENT, agent.agent_id, records.tenant_id, agent.about.tags)
        judge(evaluate(policy, context_of(who), needed, what, _FACTS, now), who, needed)


def _wanted(agent: Agent, version: AgentVersion, act: Act, terms: Terms, definition_id: str | None) -> Wanted:
    payload = {
        "agent_id": agent.agent_id,
        "slug": agent.about.slug,
        "version_id": version.version_id,
        "version_number": version.version_number,
        "config_hash": version.config_hash,
        "changelog": version.changelog,
        "definition": version.definition,
    }
    return Wanted(
        request_type=AGENT_PUBLISH,
        title=f"Publish {agent.about.slug} {version.version_number}",
        description=act.comment,
        resource_type="agent",
        resource_id=agent.agent_id,
        payload=payload,
        terms=terms,
        definition_id=definition_id,
    )


def _named(agent: Agent, request: Request) -> AgentVersion | None:
    try:
        return agent.version(str(request.payload.get("version_id")))
    except Missing:
        return None


def _waiting(agent: Agent | None, request: Request) -> AgentVersion | None:
    """The version that waits for this very request; None when it does not any more."""
    version = None if agent is None else _named(agent, request)
    waits = version is not None and version.status is VersionStatus.PENDING_APPROVAL
    return version if waits and version and version.request_id == request.approval.request_id else None


def _approved_by(request: Request, version: AgentVersion) -> bool:
    """Whether it is this very request that has approved the version, as it was asked for."""
    asked = (request.approval.request_id, request.payload.get("config_hash"))
    return version.status is VersionStatus.APPROVED and (version.request_id, version.config_hash) == asked


def _concluded(action: str, request: Request, agent: Agent, version: AgentVersion, act: Act) -> AuditEvent:
    return AuditEvent(
        actor_id=act.by,
        on_behalf_of=request.approval.requester_id,
        action=action,
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
