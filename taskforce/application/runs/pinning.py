"""Which version of the catalog's a run is pinned to, and that it may still be started when the run is committed."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.catalog.agent import no_current, require_startable
from taskforce.core.domain.catalog.definition import Instructions, instructions_of
from taskforce.core.domain.catalog.version import VersionStatus
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs.loop_limits import LoopLimits
from taskforce.core.domain.runs.run import AgentDefinition, Pinned
from taskforce.core.interfaces.store import Records, Store

MOVED_ON = frozenset({"version_not_found", "version_not_published", "version_draining"})
"""Codes of `hold_startable` after which a version that was not named by its number is looked for once more."""


@dataclass(frozen=True, slots=True)
class VersionSelector:
    """An agent of the catalog as a caller names it.

    Attributes:
        name: Its id or its slug.
        number: The number of a version.
        alias: The name of a version; without both it is the current one.
    """

    name: str
    number: str | None = None
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """A version that may be started.

    Attributes:
        agent_id: Its agent.
        name: For people.
        pinned: Which version.
        instructions: What it says.
        deprecated_at: Since when the caller should move on to another one, if so.
    """

    agent_id: str
    name: str
    pinned: Pinned
    instructions: Instructions
    deprecated_at: datetime | None = None

    def definition(self, models: tuple[str, ...], approval: Terms, loop: LoopLimits) -> AgentDefinition:
        """The agent that a run begins with.

        Args:
            models: LiteLLM names, the preferred first.
            approval: The terms under which its calls are approved.
            loop: Bounds of its runs' loop, where the version sets none.
        """
        says = self.instructions
        return AgentDefinition(
            agent_id=self.agent_id,
            name=self.name,
            system_prompt=says.system_prompt,
            tools=says.tools,
            models=models,
            temperature=says.temperature,
            max_reply_tokens=says.max_reply_tokens,
            require_approval=says.require_approval,
            approval_roles=says.approval_roles,
            approval=approval,
            pinned=self.pinned,
            loop=loop.changed(says.loop),
        )


async def find_startable(store: Store, tenant_id: str, wanted: VersionSelector) -> ResolvedVersion:
    """Finds the version that a caller means.

    Raises:
        Missing: `agent_not_found`, `version_not_found` or `alias_not_found`.
        Conflict: `agent_not_published`, `version_not_published` or `version_draining`.
    """
    async with store.tenant(tenant_id) as records:
        led = await records.catalog.led(wanted.name, wanted.number, wanted.alias)
    if led is None:
        raise missing("agent")
    if led.version is None:
        raise missing("version") if wanted.number is not None else no_current(wanted.alias)
    require_startable(led.version, by_number=wanted.number is not None)
    version = led.version
    pinned = Pinned(version.version_id, version.version_number, version.config_hash, led.about.slug)
    says = instructions_of(version.definition)
    return ResolvedVersion(led.agent_id, led.about.name, pinned, says, version.has_been(VersionStatus.DEPRECATED))


async def hold_startable(records: Records, agent: AgentDefinition) -> None:
    """Makes sure, in the transaction that commits a run, that its version may still be started.

    Whoever takes the version out of use meanwhile waits for this transaction, and then finds the run.

    Raises:
        Missing: `version_not_found`: it was removed.
        Conflict: `version_not_published` or `version_draining`.
    """
    if agent.pinned is None:
        return
    version = await records.catalog.held(agent.agent_id, agent.pinned.version_id)
    if version is None:
        raise missing("version")
    # One that was current a moment ago may just have been deprecated: that is no reason to refuse.
    require_startable(version, by_number=True)
