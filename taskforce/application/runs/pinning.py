"""Pinning of a run to an agent version, and the check at its commit that the version may still be started."""

from taskforce.core.domain.catalog.agent import no_current, require_startable
from taskforce.core.domain.catalog.definition import instructions_of
from taskforce.core.domain.catalog.version import VersionStatus
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs.run import AgentDefinition, Pinned
from taskforce.core.domain.runs.selection import ResolvedVersion, VersionSelector
from taskforce.core.interfaces.store import Records, Store

MOVED_ON = frozenset({"version_not_found", "version_not_published", "version_draining"})
"""Codes of `hold_startable` after which the version is resolved again, unless the caller named it by its number."""


async def find_startable(store: Store, tenant_id: str, selector: VersionSelector) -> ResolvedVersion:
    """Resolves an agent, with a version number, an alias or neither, to a version that may be started.

    Args:
        store: The tenants' data.
        tenant_id: The tenant.
        selector: The agent, and the version or alias.

    Raises:
        Missing: `agent_not_found`, `version_not_found` or `alias_not_found`.
        Conflict: `agent_not_published`, `version_not_published` or `version_draining`.
    """
    async with store.tenant(tenant_id) as records:
        resolve = await records.catalog.resolve(selector.name, selector.number, selector.alias)
    if resolve is None:
        raise missing("agent")
    if resolve.version is None:
        raise missing("version") if selector.number is not None else no_current(selector.alias)
    require_startable(resolve.version, by_number=selector.number is not None)
    version = resolve.version
    pinned = Pinned(version.version_id, version.version_number, version.config_hash, resolve.about.slug)
    says = instructions_of(version.definition)
    return ResolvedVersion(
        resolve.agent_id, resolve.about.name, pinned, says, version.has_been(VersionStatus.DEPRECATED)
    )


async def hold_startable(records: Records, agent: AgentDefinition) -> None:
    """Requires, in the transaction that commits a run, that its agent version may still be started.

    It locks the version: a concurrent change of its status waits for this transaction, and then finds the run.

    Raises:
        Missing: `version_not_found`: it was removed.
        Conflict: `version_not_published` or `version_draining`.
    """
    if agent.pinned is None:
        return
    version = await records.catalog.held(agent.agent_id, agent.pinned.version_id)
    if version is None:
        raise missing("version")
    # As if named by its number: a version that was deprecated since it was resolved may still be started.
    require_startable(version, by_number=True)
