"""Routes of tenants, for the platform's operator; an administrator of a tenant reads and changes the own one."""

from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.schemas.pages import PageOut
from api.schemas.tenant_deletions import PREFIX, DeletionOut, deletion_out, deletion_path
from api.schemas.tenants import TenantChangeIn, TenantFieldsIn, TenantIn, TenantOut, tenant_out
from api.web.pagination import Cursor, Limit, page, parse_text, text_cursor
from taskforce.application.tenants import deletion_requests, settings
from taskforce.application.tenants.deletion_requests import DeletionSpec
from taskforce.application.tenants.settings import TenantChange
from taskforce.core.domain.errors import Invalid, Unavailable
from taskforce.core.interfaces.identity import Permission

router = APIRouter(prefix=PREFIX, tags=["tenants"])

Manager = Annotated[Caller, Allowed(Permission.TENANT_MANAGE)]
RunsFate = Annotated[Literal["cancel", "drain"], Query(description="What happens to the runs that are under way")]
DrainSeconds = Annotated[
    int | None, Query(description="With `runs=drain`: seconds after which those that have not ended are cancelled")
]


@router.get("", name="list_tenants")
async def list_tenants(
    caller: Manager, context: Context, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[TenantOut]:
    """Lists tenants by id: all for the platform's operator, the own one for others."""
    found = await settings.list_tenants(context.database, actor_of(context, caller), parse_text(cursor), limit + 1)
    shown = map(tenant_out, found[:limit])
    return page(PageOut[TenantOut], shown, found=found, limit=limit, cursor_of=lambda last: text_cursor(last.tenant_id))


@router.post("", status_code=201, name="create_tenant")
async def create_tenant(body: TenantIn, caller: Manager, context: Context, response: Response) -> TenantOut:
    """Creates a tenant; only the platform's operator may."""
    made = await settings.create_tenant(
        context.database, context.database, actor_of(context, caller), body.tenant_id, _change(body)
    )
    response.headers["location"] = f"/api/v1{PREFIX}/{made.tenant_id}"
    return tenant_out(made)


@router.get("/{tenant_id}", name="read_tenant")
async def read_tenant(tenant_id: str, caller: Manager, context: Context) -> TenantOut:
    """Returns one tenant."""
    return tenant_out(await settings.find_tenant(context.database, actor_of(context, caller), tenant_id))


@router.put("/{tenant_id}", name="change_tenant")
async def change_tenant(tenant_id: str, body: TenantChangeIn, caller: Manager, context: Context) -> TenantOut:
    """Changes a tenant; limits and `active` are the operator's, name, metadata and `ip_allow_list` also its own.

    An `ip_allow_list` of the own tenant that lacks the caller's address is refused (409 `address_shut_out`), unless
    `force` is set.
    """
    change = replace(_change(body), address=caller.client, force=body.force)
    changed = await settings.change_tenant(context.database, actor_of(context, caller), tenant_id, change)
    return tenant_out(changed)


@router.delete("/{tenant_id}", status_code=202, name="delete_tenant")
async def delete_tenant(
    tenant_id: str,
    caller: Manager,
    context: Context,
    *,
    response: Response,
    runs: RunsFate = "cancel",
    drain_seconds: DrainSeconds = None,
) -> DeletionOut:
    """Deletes a tenant with all its data; only the platform's operator may.

    From now on every credential of the tenant is refused. Its runs are cancelled, or are drained: they go on, and those
    that have not ended in time are cancelled. Then its rows are erased, the audit log last. The same request sent again
    finds the same deletion, and restarts one whose workflow was terminated from outside. The id is not given again.
    """
    if (runs == "drain") != (drain_seconds is not None):
        raise Invalid("drain_invalid", "`drain_seconds` goes with `runs=drain`, and with that alone.")
    spec = DeletionSpec(tenant_id, drain_seconds)
    deletion = await deletion_requests.request_deletion(
        context.database, context.database, actor_of(context, caller), spec
    )
    if not deletion.is_done:
        # The deletion is committed: when Temporal does not answer, the sweeper starts its workflow later.
        with suppress(Unavailable):
            await context.workflow_client.tenants.start_deletion(deletion.order.tenant_id)
    response.headers["location"] = deletion_path(deletion.order.tenant_id)
    return deletion_out(deletion)


@router.get("/{tenant_id}/deletion", name="read_tenant_deletion")
async def read_tenant_deletion(tenant_id: str, caller: Manager, context: Context) -> DeletionOut:
    """Returns the progress report of a tenant's deletion, to the platform's operator. It outlives the tenant."""
    return deletion_out(await deletion_requests.find_deletion(context.database, actor_of(context, caller), tenant_id))


def _change(body: TenantFieldsIn) -> TenantChange:
    return TenantChange(name=body.name, settings=body.settings, metadata=body.metadata, active=body.active)
