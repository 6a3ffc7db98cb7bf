"""Requests for the deletion of a tenant, and their reports; only for the platform's operator."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskforce.application.identity.principals import Actor
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Missing
from taskforce.core.domain.ids import missing
from taskforce.core.domain.tenants.deletion import Deletion, DeletionOrder, drains_until, require_deletable
from taskforce.core.domain.tenants.tenant import parse_tenant_id
from taskforce.core.interfaces.repositories.tenants import Begun
from taskforce.core.interfaces.store import Platform, Records, Store

DELETIONS = 200
LONGEST_OUTAGE = timedelta(days=30)
"""The time within which a deletion is looked at whose rows are all erased and whose report is still open."""


@dataclass(frozen=True, slots=True)
class DeletionSpec:
    """The requested deletion of a tenant.

    Attributes:
        tenant_id: The tenant.
        drain_seconds: Seconds that open runs may go on; None cancels them at once.
    """

    tenant_id: str
    drain_seconds: int | None = None


async def request_deletion(store: Store, platform: Platform, actor: Actor, request: DeletionSpec) -> Deletion:
    """Commits the deletion of a tenant; the caller starts its workflow afterwards.

    From the commit on all requests of the tenant's users are refused. A second request returns the first deletion. It
    is audited in the operator's log, for the tenant's own log is erased.

    Args:
        store: The tenants' data.
        platform: Finds the report of a deletion.
        actor: The caller.
        request: The deletion.

    Raises:
        Missing: `tenant_not_found`.
        Forbidden: `operator_only`.
        Conflict: `not_your_own`; `tenant_keeps_reports`: the tenant was the platform's own once.
        Invalid: `drain_invalid`.
    """
    own_id = actor.principal.tenant.tenant_id
    _require_operator(actor, request.tenant_id)
    parse_tenant_id(request.tenant_id)
    require_deletable(request.tenant_id, own_id, actor.rules.platform_tenant)
    until = drains_until(request.drain_seconds, actor.now)
    order = DeletionOrder(request.tenant_id, actor.principal.user.user_id, actor.now, actor.request_id, until)
    known = await platform.deletion(request.tenant_id)
    if known is None:
        async with store.tenant(own_id) as records:
            await _begin(records, actor, order)
        known = await platform.deletion(request.tenant_id)
    if known is None:
        raise missing("tenant")
    return known


async def find_deletion(platform: Platform, actor: Actor, tenant_id: str) -> Deletion:
    """Finds the report of a tenant's deletion.

    Raises:
        Missing: `tenant_not_found`; `deletion_not_found`: it was never requested.
        Forbidden: `operator_only`.
    """
    _require_operator(actor, tenant_id)
    found = None
    with suppress(Missing):
        # A malformed id is answered like that of a tenant which was never deleted.
        found = await platform.deletion(parse_tenant_id(tenant_id))
    if found is None:
        raise missing("deletion")
    return found


async def require_never_deleted(platform: Platform, tenant_id: str) -> None:
    """Requires that no tenant of this id was deleted: its tokens, reports and backups name the earlier tenant.

    Raises:
        Conflict: `tenant_deleted`.
    """
    if await platform.deletion(tenant_id) is not None:
        raise Conflict("tenant_deleted", "A tenant of that id was deleted, or is being deleted; choose another id.")


async def start_late_deletions(
    platform: Platform, before: datetime, start: Callable[[str], Awaitable[None]], *, begun: bool = False
) -> None:
    """Starts deletions that a crash between commit and start has left unstarted.

    Args:
        platform: Lists the deletions.
        before: Those committed before this time are started.
        start: Starts the workflow of a tenant's deletion; a second start of a running one changes nothing.
        begun: Whether those that have begun are started too: the workflow of one that was terminated goes on then.

    Raises:
        DomainError: The last error of a start; the other deletions are started all the same.
    """
    after, refused = "", None
    while page := await platform.open_deletions(before, before - LONGEST_OUTAGE, after, DELETIONS):
        for tenant_id, has_begun in page:
            if has_begun and not begun:
                continue
            try:
                await start(tenant_id)
            except DomainError as error:
                refused = error
        after = page[-1][0]
    if refused is not None:
        raise refused


async def _begin(records: Records, actor: Actor, order: DeletionOrder) -> None:
    match await records.deletions.begin(order):
        case Begun.MISSING:
            raise missing("tenant")
        case Begun.KEEPS_REPORTS:
            text = "This tenant keeps the reports of others that were deleted; it was the platform's once."
            raise Conflict("tenant_keeps_reports", text)
        case Begun.BEGUN:
            await records.audit.append(_event(actor, order))
        # Another request has begun it since it was looked up.
        case Begun.KNOWN:
            return


def _require_operator(actor: Actor, tenant_id: str) -> None:
    if not actor.runs_platform and tenant_id == actor.principal.tenant.tenant_id:
        raise Forbidden("operator_only", "Only the platform's operator deletes tenants.")
    # Not `operator_only`: whether another tenant exists is not for the actor to know.
    if not actor.runs_platform:
        raise missing("tenant")


def _event(actor: Actor, order: DeletionOrder) -> AuditEvent:
    until = None if order.runs_until is None else order.runs_until.isoformat()
    runs = "cancel" if until is None else "drain"
    return actor.event("tenant.delete", "tenant", order.tenant_id, runs=runs, runs_until=until)
