"""Versions of an agent: drafted, revised, published, deprecated and archived, with the treatment of their open runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from taskforce.application.catalog.agents import Named, act_of, audit_snapshot, changing, event, locked, version_facts
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.catalog.agent import Agent
from taskforce.core.domain.catalog.definition import Definition
from taskforce.core.domain.catalog.version import AgentVersion
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.store import Records, Store

MOST_RUNS = 10_000


class InFlight(StrEnum):
    """The fate of the open runs of a version that is deprecated or archived."""

    FINISH = "finish"
    DRAIN = "drain"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to be created.

    Attributes:
        number: Its number, by Semantic Versioning.
        definition: Its definition; a draft may have any.
        changelog: Its changelog.
    """

    number: str
    definition: Definition
    changelog: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """The changed fields of a draft; None leaves a field as it is."""

    number: str | None = None
    definition: Definition | None = None
    changelog: str | None = None


@dataclass(frozen=True, slots=True)
class Retirement:
    """The way in which a version is deprecated or archived.

    Attributes:
        in_flight: What happens to its open runs. With `finish` they go on, and a deprecated version can still be
            started by its number; with `drain` they go on, no new run can be started, and archiving is refused until
            they have ended; with `cancel` they are cancelled.
        release: Whether its aliases are removed, and the agent may be left without a current version.
        comment: The reason.
    """

    in_flight: InFlight = InFlight.FINISH
    release: bool = False
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Retired:
    """A version that was deprecated or archived.

    Attributes:
        agent: The agent afterwards.
        open_runs: The open runs of the version at that moment, which the caller cancels with `cancel`.
    """

    agent: Agent
    open_runs: Sequence[str]


async def draft_version(store: Store, actor: Actor, named: Named, new: NewVersion) -> tuple[Agent, AgentVersion]:
    """Adds a draft version.

    Raises:
        Missing: `agent_not_found`.
        Stale: `revision_changed`.
        Conflict, Invalid: As `Agent.drafted`.
    """
    version_id, act = new_id(), act_of(actor)

    def drafted(agent: Agent) -> Agent:
        return agent.drafted(version_id, new.number, new.definition, new.changelog, act)

    def details(_: Agent, after: Agent) -> Mapping[str, object]:
        return {"version": version_facts(after.version(version_id))}

    agent = await changing(store, actor, named, "agent.version.create", drafted, details=details)
    return agent, agent.version(version_id)


async def revise_version(store: Store, actor: Actor, named: Named, version_id: str, new: Revision) -> Agent:
    """Changes a draft version.

    Raises:
        Missing: `agent_not_found` or `version_not_found`.
        Stale: `revision_changed`.
        Conflict, Invalid: As `Agent.revised`.
    """
    act = act_of(actor)

    def revised(agent: Agent) -> Agent:
        return agent.revised(version_id, act, number=new.number, definition=new.definition, changelog=new.changelog)

    def details(before: Agent, after: Agent) -> Mapping[str, object]:
        # By id: `version_id` may be a number, which the revision may have changed.
        was = before.version(version_id)
        return {"version": version_facts(after.version(was.version_id)), "version_before": version_facts(was)}

    return await changing(store, actor, named, "agent.version.change", revised, details=details)


async def publish_version(store: Store, actor: Actor, named: Named, version_id: str, comment: str = "") -> Agent:
    """Publishes an approved version and makes it the current one.

    Raises:
        Missing: `agent_not_found` or `version_not_found`.
        Stale: `revision_changed`.
        Conflict: `transition_not_allowed`.
    """
    act = act_of(actor, comment)

    def details(_: Agent, after: Agent) -> Mapping[str, object]:
        return {"version": version_facts(after.version(version_id)), "comment": comment}

    return await changing(
        store, actor, named, "agent.version.publish", lambda agent: agent.published(version_id, act), details=details
    )


async def roll_back(
    store: Store, actor: Actor, named: Named, version_id: str | None = None, comment: str = ""
) -> Agent:
    """Makes an earlier published version the current one again.

    Raises:
        Missing, Conflict: As `Agent.rolled_back`.
        Stale: `revision_changed`.
    """
    act = act_of(actor, comment)
    return await changing(
        store,
        actor,
        named,
        "agent.rollback",
        lambda agent: agent.rolled_back(act, version_id),
        details=lambda *_: {"comment": comment},
    )


async def deprecate_version(store: Store, actor: Actor, named: Named, version_id: str, how: Retirement) -> Retired:
    """Deprecates a published version; the caller, or a sweeper, cancels its runs after the commit where requested.

    Raises:
        Missing, Conflict: As `Agent.deprecated`.
        Stale: `revision_changed`.
    """
    act, draining = act_of(actor, how.comment), how.in_flight is not InFlight.FINISH
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await locked(records, named)
        changed = agent.deprecated(version_id, act, draining=draining, release=how.release)
        await _keep(records, actor, "agent.version.deprecate", agent, changed, version_id=version_id, how=how)
        return Retired(changed, await _open_runs(records, actor, changed, version_id, how))


async def archive_version(store: Store, actor: Actor, named: Named, version_id: str, how: Retirement) -> Retired:
    """Archives a deprecated version; the caller, or a sweeper, cancels its runs after the commit where requested.

    Raises:
        Missing: `agent_not_found` or `version_not_found`.
        Conflict: `transition_not_allowed`; `runs_in_flight`: `drain` was requested and runs are open.
        Stale: `revision_changed`.
    """
    act = act_of(actor, how.comment)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        agent = await locked(records, named)
        changed = agent.archived(version_id, act)
        await _keep(records, actor, "agent.version.archive", agent, changed, version_id=version_id, how=how)
        # After the save: the start of a run locks the version until its commit, so no run is missed here.
        found = await _open_runs(records, actor, changed, version_id, how)
        if found and how.in_flight is InFlight.DRAIN:
            text = "Runs of this version are still open; archive it when they have ended, or cancel them."
            raise Conflict("runs_in_flight", text, details={"open_runs": len(found)})
        return Retired(changed, found)


async def _open_runs(records: Records, actor: Actor, agent: Agent, version_id: str, how: Retirement) -> Sequence[str]:
    known_id = agent.version(version_id).version_id
    if how.in_flight is not InFlight.CANCEL:
        return await records.runs.open_of_version(known_id, MOST_RUNS)
    found = await records.runs.to_cancel(known_id, actor.now)
    for run_id in found:
        await records.audit.append(actor.event("run.cancel", "run", run_id))
    return found


async def _keep(
    records: Records, actor: Actor, action: str, agent: Agent, changed: Agent, *, version_id: str, how: Retirement
) -> None:
    await records.catalog.save(changed, agent)
    audited = event(
        actor,
        action,
        changed,
        in_flight=how.in_flight.value,
        release=how.release,
        comment=how.comment,
        version=version_facts(changed.version(version_id)),
        before=audit_snapshot(agent),
        after=audit_snapshot(changed),
    )
    await records.audit.append(audited)
