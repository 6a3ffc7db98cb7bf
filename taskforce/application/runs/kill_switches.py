"""Kill switches: pulled and let go by people, and looked at by runs."""

from collections.abc import Sequence

from taskforce.application.identity.principals import Actor
from taskforce.application.runs.run_cache import RunCache
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs.kill_switches import (
    KillSwitch,
    ListedSwitch,
    SwitchScope,
    SwitchTarget,
    require_released,
)
from taskforce.core.domain.tenants.tenant import parse_tenant_id
from taskforce.core.interfaces.store import Platform, Records, Store


async def pull_switch(store: Store, actor: Actor, target: SwitchTarget, reason: str) -> KillSwitch:
    """Pulls a kill switch: no step of what it halts begins any more, and no run starts.

    Args:
        store: The tenants' data.
        actor: The caller, with current rights.
        target: What is to be halted.
        reason: Why, for people.

    Returns:
        The switch; one that is pulled already stays as it is, with who pulled it and why.

    Raises:
        Forbidden: `operator_only`.
        Missing: `tenant_not_found`: there is none, or it is not the actor's.
        Invalid: `reason_invalid`.
    """
    _require_visible(actor, target)
    target.require_authority(by_operator=actor.runs_platform)
    switch = KillSwitch.pulled(target, reason, actor.principal.user.user_id, actor.now)
    async with store.tenant(parse_tenant_id(target.tenant_id)) as records:
        if await records.tenant.get() is None:
            raise missing("tenant")
        if not await records.kill_switches.add(switch):
            return await records.kill_switches.get(target) or switch
        await records.audit.append(_event(actor, "kill_switch.pull", target, switch))
    return switch


async def find_switch(store: Store, actor: Actor, target: SwitchTarget) -> KillSwitch:
    """Finds a pulled kill switch; that of the installation is visible to every tenant.

    Raises:
        Missing: `kill_switch_not_found`: it is not pulled; `tenant_not_found`: it is not the actor's.
    """
    _require_visible(actor, target)
    async with store.tenant(parse_tenant_id(target.tenant_id)) as records:
        switch = await records.kill_switches.get(target)
        if switch is None:
            raise await _absent(records)
    return switch


async def list_switches(
    store: Store, platform: Platform, actor: Actor, after: tuple[str, str, str] | None, most: int
) -> Sequence[ListedSwitch]:
    """Lists the pulled kill switches by tenant, scope and agent: for the platform's operator those of all tenants.

    Args:
        store: The tenants' data.
        platform: Look-ups across tenants.
        actor: The caller; others than the operator see those of their tenant, those that the operator pulled for it
            among them, and that of the installation.
        after: The place of the last one of the page before.
        most: How many at most.
    """
    if actor.runs_platform:
        return await platform.kill_switches(after, most)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.kill_switches.page(after, most)


async def release_switch(store: Store, actor: Actor, target: SwitchTarget) -> None:
    """Lets a kill switch go: what it halted goes on within seconds.

    Raises:
        Missing: `kill_switch_not_found`: it is not pulled; `tenant_not_found`: it is not the actor's.
        Forbidden: `operator_only`.
    """
    _require_visible(actor, target)
    async with store.tenant(parse_tenant_id(target.tenant_id)) as records:
        switch = await records.kill_switches.get(target)
        if switch is None:
            raise await _absent(records)
        target.require_authority(by_operator=actor.runs_platform)
        # Of two who let it go at once, one has done it.
        if not await records.kill_switches.remove(target):
            raise missing("kill switch")
        await records.audit.append(_event(actor, "kill_switch.release", target, switch))


class ReleaseLook:
    """Use case of the activity `await_release`.

    Args:
        store: The tenants' data.
        run_cache: The specifications of runs.
    """

    def __init__(self, store: Store, run_cache: RunCache) -> None:
        self._store = store
        self._run_cache = run_cache

    async def look(self, tenant_id: str, run_id: str) -> None:
        """Requires that no kill switch halts a run; a run that was erased is halted by none.

        Raises:
            Unavailable: `halted`.
        """
        try:
            spec = await self._run_cache.get(tenant_id, run_id)
        except Missing:
            return
        async with self._store.reading(tenant_id) as records:
            require_released(await records.kill_switches.halting(spec.agent.agent_id))


async def _absent(records: Records) -> Missing:
    return missing("tenant" if await records.tenant.get() is None else "kill switch")


def _require_visible(actor: Actor, target: SwitchTarget) -> None:
    if target.tenant_id != actor.principal.tenant.tenant_id and not actor.runs_platform:
        raise missing("tenant")


def _event(actor: Actor, action: str, target: SwitchTarget, switch: KillSwitch) -> AuditEvent:
    own = actor.principal.tenant.tenant_id
    # The readers of the log of a tenant that the operator halts do not know the operator: so it names their tenant.
    foreign = {} if own == target.tenant_id else {"actor_tenant": own}
    halted = {"agent_id": target.agent_id} if target.scope is SwitchScope.AGENT else {}
    return actor.event(
        action,
        "kill_switch",
        target.resource_id,
        scope=target.scope.value,
        reason=switch.reason,
        pulled_by=switch.pulled_by,
        **halted,
        **foreign,
    )
