"""Publication of a version: submission, which opens an approval request, and the checks of a verdict."""

from dataclasses import dataclass, field, replace

from taskforce.application.approvals.definitions import definitions_of
from taskforce.application.approvals.requests import ApprovalRequestSpec, insert_request
from taskforce.application.catalog.agents import (
    Named,
    act_of,
    audit_snapshot,
    event,
    locked,
    require_seen,
    version_facts,
)
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.approvals.definitions import DefinitionRules, call_deciders, choose
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.catalog.agent import Agent
from taskforce.core.domain.catalog.definition import Offered, Problem, problems_of
from taskforce.core.domain.catalog.version import Act, AgentVersion, VersionStatus
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.interfaces.store import Records, Store

AGENT_PUBLISH = "agent_publish"
_APPROVAL_ROLES = "approval_roles"


@dataclass(frozen=True, slots=True)
class Submission:
    """A version to be submitted for publication.

    Attributes:
        version: Its id or its number.
        offered: The tools and models that its definition may name.
        terms: The terms of the request where the tenant has no definition for it.
        comment: The reason, for the approvers.
        rules: The deployment's approval definitions.
    """

    version: str
    offered: Offered
    terms: Terms
    comment: str = ""
    rules: DefinitionRules = field(default_factory=DefinitionRules)


async def submit_version(store: Store, actor: Actor, named: Named, submission: Submission) -> tuple[Agent, Request]:
    """Submits a version for publication: the version is frozen, and an approval request is opened.

    The caller starts the request's workflow after the commit; a sweeper starts what a crash leaves unstarted.

    Args:
        store: The tenants' data.
        actor: The caller.
        named: The agent.
        submission: The submission.

    Returns:
        The agent afterwards, and the request.

    Raises:
        Missing: `agent_not_found` or `version_not_found`.
        Stale: `revision_changed`.
        Conflict: `transition_not_allowed` or `definition_has_problems`.
    """
    act, request_id = act_of(actor, submission.comment), new_id()
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await locked(records, named)
        offered = await _offered(records, agent, agent.version(submission.version), submission)
        changed = agent.submitted(submission.version, act, offered, request_id)
        version = changed.version(submission.version)
        terms, definition_id = await _terms(records, changed, submission)
        request = await insert_request(
            records, actor, _request_spec(changed, version, act, terms, definition_id), request_id
        )
        await records.catalog.save(changed, agent)
        said = {"comment": submission.comment, "request_id": request_id, "version": version_facts(version)}
        audited = event(
            actor, "agent.version.submit", changed, **said, before=audit_snapshot(agent), after=audit_snapshot(changed)
        )
        await records.audit.append(audited)
    return changed, request


async def draft_problems(
    store: Store, actor: Actor, agent: Agent, version: AgentVersion, submission: Submission
) -> tuple[Problem, ...]:
    """Lists what keeps a draft from being submitted; nothing of any other version, which cannot be mended any more."""
    if version.status is not VersionStatus.DRAFT:
        return ()
    offered = submission.offered
    if _APPROVAL_ROLES in version.definition:
        async with store.reading(actor.principal.tenant.tenant_id) as records:
            offered = await _offered(records, agent, version, submission)
    return problems_of(version.definition, offered)


async def _offered(records: Records, agent: Agent, version: AgentVersion, submission: Submission) -> Offered:
    """Returns what is offered to a version, with the roles that decide its calls where it names some."""
    rules = submission.rules
    if _APPROVAL_ROLES not in version.definition:
        return submission.offered
    definitions = await definitions_of(records, rules.definitions, signals=rules.signals)
    deciders = call_deciders(definitions, (agent.agent_id, agent.about.slug), submission.terms)
    return replace(submission.offered, deciders=deciders)


async def _terms(records: Records, agent: Agent, submission: Submission) -> tuple[Terms, str | None]:
    """Returns the terms of the tenant's definition; else the usual ones, which leave the publication to a user."""
    rules = submission.rules
    definitions = await definitions_of(records, rules.definitions, signals=rules.signals)
    chosen = choose(definitions, AGENT_PUBLISH, agent=(agent.agent_id, agent.about.slug))
    if chosen is None:
        return replace(submission.terms, carries_out=False), None
    return chosen.own_terms, chosen.definition_id


async def request_for(store: Store, actor: Actor, name: str, version_id: str) -> tuple[Agent, Request | None]:
    """Finds an agent, and the latest approval request of one of its versions.

    Raises:
        Missing: `agent_not_found` or `version_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await records.catalog.get(name)
        if agent is None:
            raise missing("agent")
        version = agent.version(version_id)
        return agent, await records.requests.get(version.request_id) if version.request_id else None


@dataclass(frozen=True, slots=True)
class VerdictPreconditions:
    """The preconditions of a verdict; None is no precondition.

    Attributes:
        revisions: The revisions of the agent that `If-Match` names.
        config_hash: The hash of the definition that the approver was shown.
    """

    revisions: frozenset[int] | None = None
    config_hash: str | None = None


def require_waiting(
    actor: Actor, agent: Agent, version_id: str, verdict: Verdict, preconditions: VerdictPreconditions
) -> None:
    """Requires that a version waits for a verdict and is what the approver was shown; changes nothing.

    The status changes when the request is closed.

    Raises:
        Stale: `revision_changed`.
        Conflict: `content_changed`; `transition_not_allowed`.
    """
    require_seen(agent, preconditions.revisions)
    if preconditions.config_hash not in (None, agent.version(version_id).config_hash):
        raise Conflict("content_changed", "The version is not what you were shown. Read it again.")
    # Applied for its checks only; the result is dropped.
    (agent.approved if verdict is Verdict.APPROVE else agent.rejected)(version_id, act_of(actor))


def _request_spec(
    agent: Agent, version: AgentVersion, act: Act, terms: Terms, definition_id: str | None
) -> ApprovalRequestSpec:
    payload = {
        "agent_id": agent.agent_id,
        "slug": agent.about.slug,
        "version_id": version.version_id,
        "version_number": version.version_number,
        "config_hash": version.config_hash,
        "changelog": version.changelog,
        "definition": version.definition,
    }
    return ApprovalRequestSpec(
        request_type=AGENT_PUBLISH,
        title=f"Publish {agent.about.slug} {version.version_number}",
        description=act.comment,
        resource_type="agent",
        resource_id=agent.agent_id,
        payload=payload,
        terms=terms,
        definition_id=definition_id,
    )
