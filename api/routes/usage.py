"""Routes of usage: the records, and aggregations of them."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from api.auth.caller import Caller, Context
from api.auth.guard import Allowed
from api.schemas.usage import UsageAggregationOut, UsagePageOut, sums_out, usage_record_out
from api.usage_query import CSV, Grouping, Selection, aggregated, answered
from api.web.ndjson import MEDIA_TYPE
from api.web.pagination import Cursor, Limit, parse_record, record_cursor
from taskforce.application.reporting.aggregation import aggregate_usage, list_usage
from taskforce.core.domain.metering.aggregation import AggregationQuery
from taskforce.core.interfaces.identity import Permission

router = APIRouter(prefix="/admin/usage", tags=["usage"])

Auditor = Annotated[Caller, Allowed(Permission.AUDIT_READ)]
FORMS: dict[int | str, dict[str, Any]] = {
    200: {"content": {form: {"schema": {"type": "string"}} for form in (MEDIA_TYPE, CSV)}}
}


@router.get("", name="list_usage")
async def list_usage_records(
    caller: Auditor, context: Context, which: Selection, limit: Limit = 20, cursor: Cursor = None
) -> UsagePageOut:
    """Lists the tenant's usage records, newest first, with the sums of all that is asked for.

    A page looks at a bounded number of records, so that it may hold fewer than asked for before the end.
    """
    after = parse_record(cursor)
    settings = caller.principal.tenant.settings
    chosen = which.resolve(settings, context.clock())
    page = await list_usage(context.database, caller.tenant_id, chosen, after, limit)
    summary = None
    if after is None:
        query = AggregationQuery(chosen, zone=which.time_zone(settings))
        whole = await aggregate_usage(context.database, caller.tenant_id, query)
        summary = sums_out(whole.total)
    return UsagePageOut.model_construct(
        items=[usage_record_out(record) for record in page.records],
        next_cursor=None if page.following is None else record_cursor(page.following),
        summary=summary,
    )


@router.get("/aggregation", response_model=UsageAggregationOut, responses=FORMS, name="aggregate_usage")
async def aggregate(
    request: Request, caller: Auditor, context: Context, which: Selection, by: Grouping
) -> Response | UsageAggregationOut:
    """Sums up the tenant's usage, exactly and as of one moment, by any dimensions, over any period.

    Days, weeks and months are those of the time zone. Answered as JSON, or by `Accept` as JSON Lines or CSV, a group a
    line.
    """
    return answered(request, await aggregated(context, caller, which, by))
