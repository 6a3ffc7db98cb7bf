"""Start of a run: the use case behind routes, schedules, sub-agents and tool servers alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from taskforce.application.access.authorization import require_on
from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.application.identity.principals import Actor
from taskforce.application.late_start import start_or_leave
from taskforce.application.runs.creation import AcceptedRun, NewRun, create_run, find_repeated
from taskforce.application.runs.pinning import MOVED_ON, find_startable
from taskforce.core.domain.errors import DomainError, Invalid
from taskforce.core.domain.ids import is_id, missing
from taskforce.core.domain.runs.selection import AgentSelector, SelectedAgent, VersionSelector
from taskforce.core.interfaces.agents import AgentSource
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Store
from taskforce.core.interfaces.workflows import RunWorkflows


@dataclass(frozen=True, slots=True)
class RunPorts:
    """Dependencies of `start_run`.

    Attributes:
        store: The tenants' data.
        workflows: The client of the run workflows.
        agents: The agents of the deployment's profiles.
        policies: The policy engine.
    """

    store: Store
    workflows: RunWorkflows
    agents: AgentSource
    policies: PolicyEngine


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The run that a caller requests.

    Attributes:
        mission: The text of the mission.
        agent: The agent, by id or profile, with version and limits.
        context: Facts for the model, as JSON.
        session_id: The session to continue, or None for a new one.
        idempotency_key: The idempotency key of the request, if any.
        body: The body of the request, to tell a repeated request from another one.
        facts: Facts about the request that the product has established, such as the client's address, for policy
            conditions.
        tags: The tags of the request; see `Attribution`.
    """

    mission: str
    agent: AgentSelector = field(default_factory=AgentSelector)
    context: Mapping[str, object] = field(default_factory=dict)
    session_id: str | None = None
    idempotency_key: str | None = None
    body: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that is committed, and started unless Temporal is out of reach; then a sweeper starts it.

    Attributes:
        run_id: The run.
        session_id: Its session.
        agent_id: Its agent; None where a repeated request was answered from the first one, without resolving it.
        replayed: Whether an earlier request with the same idempotency key created it.
        deprecated_at: Since when the agent version is deprecated; None where it is not, or was not resolved.
    """

    run_id: str
    session_id: str
    agent_id: str | None
    replayed: bool = False
    deprecated_at: datetime | None = None


async def start_run(ports: RunPorts, actor: Actor, request: RunRequest) -> StartedRun:
    """Resolves the agent, commits the run and starts its workflow; a sweeper starts what a crash leaves unstarted.

    A request that was accepted before with the same idempotency key gets that answer, whatever has become of its agent.

    Args:
        ports: The dependencies.
        actor: The caller, with current rights.
        request: The run to start.

    Raises:
        Forbidden: `permission_denied` or `policy_denied`.
        Missing: `agent_not_found`, `profile_not_found`, `version_not_found`, `alias_not_found` or `session_not_found`.
        Invalid: As `AgentSource.choose` and `create_run`; `agent_has_no_versions`.
        Conflict: `agent_not_published`, `version_not_published` or `version_draining`.
        Limited: `too_many_sessions`.
        Unavailable: `halted`: a kill switch is pulled; the database does not answer; the tenant's policy is unreadable.
    """
    repeated = await find_repeated(ports.store, actor, request.idempotency_key, request.body)
    if repeated is not None:
        return StartedRun(repeated.run_id, repeated.session_id, None, replayed=True)
    agent_id = await _agent_id(ports, actor, request.agent)
    await require_on(ports.store, ports.policies, actor, Permission.AGENT_EXECUTE, agent_id, facts=request.facts)
    try:
        return await _start(ports, actor, request, agent_id)
    except DomainError as error:
        # A version that was named by its number leads to no other.
        if request.agent.version is not None or error.code not in MOVED_ON:
            raise
    # The alias or agent has moved to another version since it was resolved, so resolve it once more.
    return await _start(ports, actor, request, agent_id)


async def _agent_id(ports: RunPorts, actor: Actor, selector: AgentSelector) -> str | None:
    """Resolves the agent's name to its id; an unknown name is returned as it is, and refused later."""
    name = ports.agents.agent_id(selector.agent_id, selector.profile)
    if name is None or selector.agent_id is None or ports.agents.knows(name):
        return name
    if is_id(name):
        # In the catalog's spelling: grants and policies name agents by it, and compare texts.
        return name.lower()
    async with ports.store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.catalog.id_of(name) or name


async def _start(ports: RunPorts, actor: Actor, request: RunRequest, agent_id: str | None) -> StartedRun:
    chosen = await _choose(ports, actor, request.agent, agent_id)
    created = await create_run(ports.store, _new(actor, request, chosen))
    spec = created.spec
    if spec is not None:
        await start_or_leave(lambda: ports.workflows.start(spec))
    return _started(created, chosen)


async def _choose(ports: RunPorts, actor: Actor, selector: AgentSelector, agent_id: str | None) -> SelectedAgent:
    if selector.agent_id is None or ports.agents.knows(selector.agent_id):
        if selector.version is not None or selector.alias is not None:
            raise Invalid("agent_has_no_versions", "The agent of a profile has no versions; leave them out.")
        return ports.agents.choose(selector)
    # By the id that was authorized, not by the name: the name may lead to another agent meanwhile.
    if agent_id is None or not is_id(agent_id):
        raise missing("agent")
    wanted = VersionSelector(agent_id, selector.version, selector.alias)
    return ports.agents.pinned(selector, await find_startable(ports.store, actor.principal.tenant.tenant_id, wanted))


def _new(actor: Actor, request: RunRequest, chosen: SelectedAgent) -> NewRun:
    return NewRun(
        actor,
        mission=request.mission,
        agent=chosen.agent,
        profile=chosen.profile,
        limits=chosen.limits,
        context=request.context,
        session_id=request.session_id,
        idempotency_key=request.idempotency_key,
        body=request.body,
        tags=request.tags,
    )


def _started(created: AcceptedRun, chosen: SelectedAgent) -> StartedRun:
    return StartedRun(
        created.run_id,
        created.session_id,
        chosen.agent.agent_id,
        replayed=created.replayed,
        deprecated_at=chosen.deprecated_at,
    )
