"""Creation of a run: its row, mission, first milestone and audit event, committed before its workflow is started."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import uuid4

from taskforce.application.idempotency import IdempotentCall, claim, earlier
from taskforce.application.identity.principals import Actor
from taskforce.application.runs.pinning import hold_startable
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Invalid, Limited
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.json_limits import check_document
from taskforce.core.domain.metering.attribution import Attribution, check_tags
from taskforce.core.domain.runs.kill_switches import RELEASE_SECONDS, require_released
from taskforce.core.domain.runs.run import AgentDefinition, Limits, RunSpec
from taskforce.core.domain.runs.transcript import Entry, EntryKind, mission_text
from taskforce.core.interfaces.identity import ResourceType
from taskforce.core.interfaces.store import Records, Store

MAX_CONTEXT = 100_000
RETRY_SECONDS = 10
ROUTE = "execute"
_SESSION = re.compile(r"session-[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be created, with its agent resolved.

    Attributes:
        actor: The caller, with current rights.
        mission: The text of the mission.
        agent: The agent, resolved and pinned to its version.
        profile: The profile that it came from.
        limits: The limits of the run.
        context: Facts for the model, as JSON.
        session_id: The session to continue, or None for a new one.
        idempotency_key: The idempotency key of the HTTP request, if any.
        body: The body of the request, to tell a repeated request from another one.
        tags: The tags of the request; see `Attribution`.
    """

    actor: Actor
    mission: str
    agent: AgentDefinition
    profile: str
    limits: Limits
    context: Mapping[str, object]
    session_id: str | None
    idempotency_key: str | None
    body: Mapping[str, object]
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def tenant_id(self) -> str:
        """Returns the caller's tenant."""
        return self.actor.principal.tenant.tenant_id

    @property
    def user_id(self) -> str:
        """Returns the caller's id."""
        return self.actor.principal.user.user_id


@dataclass(frozen=True, slots=True)
class AcceptedRun:
    """A run that is committed.

    Attributes:
        run_id: The run.
        session_id: Its session.
        replayed: Whether an earlier request with the same idempotency key created it; nothing is to be started then.
        spec: The run's specification, to start its workflow with; None for a replayed request.
    """

    run_id: str
    session_id: str
    replayed: bool = False
    spec: RunSpec | None = None


async def create_run(store: Store, mission: NewRun) -> AcceptedRun:
    """Commits a run with its mission, first milestone and audit event; the caller starts the workflow afterwards.

    Args:
        store: The tenants' data.
        mission: The run to be created.

    Raises:
        Missing: `session_not_found`: it is malformed, of another tenant or of another user.
        Invalid: `idempotency_key_reused` when the key was used with another body, `context_too_large`,
            `context_malformed`, `tags_invalid`.
        Limited: `too_many_sessions`.
        Conflict: `version_not_published` or `version_draining`: the agent's version was taken out of use meanwhile.
        Unavailable: `halted`: a kill switch is pulled.
    """
    _require_session_name(mission)
    # Before `json.dumps`, which would recurse into a document of any depth.
    check_document(mission.context, "context")
    if len(json.dumps(mission.context, default=str)) > MAX_CONTEXT:
        raise Invalid("context_too_large", f"`context` may hold at most {MAX_CONTEXT} characters of JSON.")
    check_tags(mission.tags)
    now = mission.actor.now
    async with store.tenant(mission.tenant_id) as records:
        spec = _spec(mission)
        # Before the limits: a repeated request must not be refused because its own first run counts.
        repeated = await _claim(records, mission, spec)
        if repeated is not None:
            return repeated
        require_released(await records.kill_switches.halting(spec.agent.agent_id), retry_after=RELEASE_SECONDS)
        await hold_startable(records, spec.agent)
        await _require_room(records, mission)
        began = await records.runs.add(spec)
        if mission.session_id is not None:
            # After the insert: of two callers who open one session at once, the second has waited for the first commit.
            await _require_session(records, mission)
        if mission.session_id is not None and began:
            # An erased session may have had this id; what was granted on that one is no right to this one.
            await records.roles.withdraw_all(ResourceType.SESSION, mission.session_id)
        text = mission_text(spec.mission, spec.context)
        mission_said = Entry(0, 0, EntryKind.MISSION, text, now, author_id=spec.user_id)
        await records.transcripts.append(spec.run_id, mission_said)
        await records.events.append(spec.run_id, "run.queued", {"agent_id": spec.agent.agent_id}, now)
        await records.audit.append(_started(mission, spec))
        return AcceptedRun(spec.run_id, spec.session_id, spec=spec)


async def find_repeated(store: Store, actor: Actor, key: str | None, body: Mapping[str, object]) -> AcceptedRun | None:
    """Finds the run that an earlier request with the same idempotency key created; None where there is none.

    It is looked for before the agent is: whether the agent may still be started is no question of a repeated request.

    Args:
        store: The tenants' data.
        actor: The caller.
        key: The idempotency key, if any.
        body: The body of the request.

    Raises:
        Invalid: `idempotency_key_reused`.
    """
    if key is None:
        return None
    async with store.reading(actor.principal.tenant.tenant_id) as records:
        first = await earlier(records, IdempotentCall(actor.principal.user.user_id, ROUTE, key, body))
    return None if first is None else _replayed(first)


async def _require_room(records: Records, mission: NewRun) -> None:
    # Every open run counts, whichever session it is in; otherwise many runs in one session would evade the limit.
    most = mission.actor.principal.tenant.settings.max_concurrent_sessions
    if most is not None and await records.runs.open_runs() >= most:
        text = f"Your tenant may have {most} sessions with an open run at a time. Wait until a run has ended."
        raise Limited("too_many_sessions", text, retry_after=RETRY_SECONDS)


def _spec(mission: NewRun) -> RunSpec:
    principal = mission.actor.principal
    return RunSpec(
        tenant_id=mission.tenant_id,
        run_id=new_id(),
        session_id=mission.session_id or f"{mission.tenant_id}:session-{uuid4()}",
        user_id=mission.user_id,
        profile=mission.profile,
        agent=mission.agent,
        mission=mission.mission,
        context=mission.context,
        limits=mission.limits,
        created_at=mission.actor.now,
        key_id=principal.key_id,
        claimed_roles=None if principal.claims is None else principal.claims.roles,
        claimed_attributes=None if principal.claims is None else principal.claims.attributes,
        attribution=Attribution.resolve(principal.user.attributes, mission.agent.attribution, mission.tags),
    )


async def _claim(records: Records, mission: NewRun, spec: RunSpec) -> AcceptedRun | None:
    keyed = IdempotentCall(mission.user_id, ROUTE, mission.idempotency_key, mission.body)
    first = await claim(records, keyed, {"run_id": spec.run_id, "session_id": spec.session_id}, spec.created_at)
    return None if first is None else _replayed(first)


def _replayed(first: Mapping[str, object]) -> AcceptedRun:
    return AcceptedRun(str(first["run_id"]), str(first["session_id"]), replayed=True)


def _require_session_name(mission: NewRun) -> None:
    tenant_id, _, name = (mission.session_id or f"{mission.tenant_id}:session-new").partition(":")
    if tenant_id != mission.tenant_id or not _SESSION.fullmatch(name):
        raise missing("session")


async def _require_session(records: Records, mission: NewRun) -> None:
    owner = await records.runs.session_owner(str(mission.session_id))
    if owner is not None and owner != mission.user_id:
        # Not `Forbidden`: whether another user has a session of this id is not for the caller to know.
        raise missing("session")


def _started(mission: NewRun, spec: RunSpec) -> AuditEvent:
    event = mission.actor.event(
        "run.start",
        "run",
        spec.run_id,
        agent_id=spec.agent.agent_id,
        session_id=spec.session_id,
        **_pinned(spec),
    )
    return replace(event, content={"mission": spec.mission, "context": spec.context})


def _pinned(spec: RunSpec) -> dict[str, object]:
    pinned = spec.agent.pinned
    return {} if pinned is None else {"version": pinned.version_number, "config_hash": pinned.config_hash}
