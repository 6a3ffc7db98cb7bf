"""Handler of publication requests: approves or rejects the version with its request, and publishes it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from taskforce.application.access.authorization import load_subject, raise_if_denied
from taskforce.application.access.policy_documents import policy_now
from taskforce.application.approvals.decisions import SUBJECT_CHANGED
from taskforce.application.approvals.handler import DefaultHandler
from taskforce.application.audit.events import system_event
from taskforce.application.catalog.agents import version_facts
from taskforce.application.identity.principals import load_principal_for_key, without_temporary_roles
from taskforce.core.domain.access.decisions import decide
from taskforce.core.domain.access.policies import Resource
from taskforce.core.domain.approvals.approval import ApprovalStatus, Verdict
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.catalog.agent import Agent
from taskforce.core.domain.catalog.version import LONGEST_COMMENT, Act, AgentVersion, VersionStatus
from taskforce.core.domain.errors import Conflict, Missing
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.store import Records

SYSTEM = "system"


_FACTS: Mapping[str, object] = {"channel": "worker"}


CHANGED = "what was decided on is not this version any more"


class AgentPublicationHandler(DefaultHandler):
    """Handler of publication requests; a version is approved in no other way.

    Args:
        rules: The deployment's access rules.
    """

    def __init__(self, rules: AccessRules) -> None:
        self._rules = rules

    async def current_hash(self, records: Records, request: Request) -> str | None:
        """Returns the request's hash while the unchanged version waits for this request; else None."""
        version = _waiting(await records.catalog.get(request.resource_id), request)
        if version is None:
            return None
        same = version.config_hash == request.payload.get("config_hash")
        return request.content_hash if same else version.config_hash

    async def on_closed(
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

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        """Publishes the version with the requester's current rights; without them it stays approved.

        Raises:
            Forbidden: The requester, or the API key that submitted it, has lost the right to publish.
            Conflict: `subject_changed`: the version does not exist any more or is not approved by this request.
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
        """Requires the requester's permission to publish now, as a route would; the approval alone does not give it."""
        asks = await load_principal_for_key(records, request.approval.requester_id, request.key_id, self._rules, now)
        # Without temporary roles, for a publication outlasts them.
        principal = await without_temporary_roles(records, asks, self._rules, now)
        subject = await load_subject(records, principal, rules=self._rules, now=now)
        policy, needed = await policy_now(records), Permission.AGENT_UPDATE
        what = Resource(ResourceType.AGENT, agent.agent_id, records.tenant_id, agent.about.tags)
        raise_if_denied(decide(policy, subject, needed, what, context=_FACTS, now=now), needed)


def _named(agent: Agent, request: Request) -> AgentVersion | None:
    try:
        return agent.version(str(request.payload.get("version_id")))
    except Missing:
        return None


def _waiting(agent: Agent | None, request: Request) -> AgentVersion | None:
    """Returns the request's version while it waits for this request; else None."""
    version = None if agent is None else _named(agent, request)
    waits = version is not None and version.status is VersionStatus.PENDING_APPROVAL
    return version if waits and version and version.request_id == request.approval.request_id else None


def _approved_by(request: Request, version: AgentVersion) -> bool:
    """Tells whether this request has approved the version, with the requested definition."""
    asked = (request.approval.request_id, request.payload.get("config_hash"))
    return version.status is VersionStatus.APPROVED and (version.request_id, version.config_hash) == asked


def _concluded(action: str, request: Request, agent: Agent, version: AgentVersion, act: Act) -> AuditEvent:
    return system_event(
        action,
        "agent",
        agent.agent_id,
        act.at,
        actor_id=act.by,
        on_behalf_of=request.approval.requester_id,
        reason=act.comment,
        approval_id=request.approval.request_id,
        before=version_facts(version),
        after=version_facts(agent.version(version.version_id)),
    )
