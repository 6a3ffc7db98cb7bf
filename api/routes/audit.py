"""Routes of the audit log: listing, export, and the anchor that an export is checked against."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed, may_still
from api.schemas.audit import AnchorOut, AuditEventOut, anchor_out, audit_event_out
from api.schemas.fields import utc
from api.schemas.pages import PageOut
from api.web.ndjson import ANCHOR, MEDIA_TYPE, LinesResponse, still
from api.web.pagination import Cursor, Limit, page, parse_place, place_cursor
from taskforce.application.audit.export import (
    begin_export,
    current_anchor,
    export_lines,
    list_events,
    parse_after,
)
from taskforce.core.domain.audit.events import AuditFilter
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.identity import Permission

router = APIRouter(prefix="/admin/audit", tags=["audit"])

Documented = dict[int | str, dict[str, Any]]
Auditor = Annotated[Caller, Allowed(Permission.AUDIT_READ)]
Exactly = Annotated[str | None, Query(min_length=1, max_length=500)]
_EXPORT: Documented = {
    200: {
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        "headers": {ANCHOR: {"schema": {"type": "string"}, "description": "Where the export must end"}},
    }
}


def audit_filter(
    actor_id: Exactly = None,
    action: Exactly = None,
    resource_type: Exactly = None,
    *,
    resource_id: Exactly = None,
    outcome: Exactly = None,
    since: Annotated[AwareDatetime | None, Query(description="From when on, with its zone")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Until when; that moment left out")] = None,
    key_id: Annotated[UUID | None, Query(description="By which API key")] = None,
) -> AuditFilter:
    """Builds the filter of an audit list from the query parameters.

    Raises:
        Invalid: `time_invalid`.
    """
    return AuditFilter(actor_id, action, resource_type, resource_id, outcome, utc(since), utc(until), _plain(key_id))


@router.get("", name="list_audit_events")
async def list_audit_events(
    caller: Auditor,
    context: Context,
    which: Annotated[AuditFilter, Depends(audit_filter)],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> PageOut[AuditEventOut]:
    """Lists the tenant's audit events, newest first."""
    found = await list_events(context.database, actor_of(context, caller), which, Page(limit + 1, parse_place(cursor)))
    return page(
        PageOut[AuditEventOut],
        map(audit_event_out, found[:limit]),
        found=found,
        limit=limit,
        cursor_of=lambda last: place_cursor(last.at, last.audit_id),
    )


@router.get("/export", response_class=Response, responses=_EXPORT, name="export_audit_log")
async def export_audit_log(
    caller: Auditor,
    context: Context,
    after: Annotated[
        str | None, Query(max_length=200, description="An anchor, or the number of an event, to go on after")
    ] = None,
) -> LinesResponse:
    """Exports the audit log as JSON Lines, whole or after a position; the export is itself recorded in it.

    The header `Audit-Anchor` says where it must end: keep it where whoever can change the file cannot.
    """
    after_place = parse_after(after)
    with context.in_flight.exports.take(caller.tenant_id, caller.user_id) as place:
        export = await begin_export(context.database, actor_of(context, caller), after_place)
        place.keep()
    name = f"audit-{caller.tenant_id}-{export.begin.seq + 1}-{export.end.seq}.jsonl"
    headers = {ANCHOR: str(export.end), "content-disposition": f'attachment; filename="{name}"'}
    reading = still(context, lambda: may_still(context, caller, Permission.AUDIT_READ, None))
    return LinesResponse(export_lines(context.database, export, reading), headers, place)


@router.get("/anchor", name="read_audit_anchor")
async def read_audit_anchor(caller: Auditor, context: Context) -> AnchorOut:
    """Returns the present end of the hash chain; a new event is sealed into it within seconds."""
    return anchor_out(*await current_anchor(context.database, caller.tenant_id))


def _plain(key_id: UUID | None) -> str | None:
    return None if key_id is None else str(key_id)
