"""Routes of cost reports: previews, drafts with adjustments, and what is issued."""

from base64 import b64encode
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.schemas.cost_files import report_csv, report_markdown
from api.schemas.costs import AdjustmentIn, CostReportOut, ReportIn, ReportSummaryOut, summary_out
from api.schemas.focus import report_focus
from api.schemas.pages import PageOut
from api.usage_query import CSV, usage_period
from api.web.headers import IdempotencyKey, mark_replayed
from api.web.pagination import Cursor, Limit, page, parse_place, place_cursor
from taskforce.application.reporting.aggregation import UsageSelection
from taskforce.application.reporting.cost_reports import CostReporting, Render, ReportText
from taskforce.core.domain.paging import Page
from taskforce.core.domain.time_zones import parse_time_zone
from taskforce.core.interfaces.identity import Permission

PREFIX = "/admin/costs"
router = APIRouter(prefix=PREFIX, tags=["costs"])

Reader = Annotated[Caller, Allowed(Permission.AUDIT_READ)]
Manager = Annotated[Caller, Allowed(Permission.TENANT_MANAGE)]
MARKDOWN = "text/markdown"


class ReportForm(StrEnum):
    """A form of a cost report."""

    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    FOCUS = "focus"
    """CSV by the FinOps Open Cost and Usage Specification, 1.2."""


_FILES = {
    ReportForm.CSV: (report_csv, CSV, "csv"),
    ReportForm.MARKDOWN: (report_markdown, MARKDOWN, "md"),
    ReportForm.FOCUS: (report_focus, CSV, "focus.csv"),
}
FORMS: dict[int | str, dict[str, Any]] = {
    200: {"model": CostReportOut, "content": {form: {"schema": {"type": "string"}} for form in (CSV, MARKDOWN)}}
}
ONE: dict[int | str, dict[str, Any]] = {200: {"model": CostReportOut}}
MADE: dict[int | str, dict[str, Any]] = {201: {"model": CostReportOut}}
Form = Annotated[
    ReportForm | None, Query(alias="format", description="json, csv, markdown or focus; without, as `Accept` says")
]
Groups = Annotated[
    list[Annotated[str, Query(max_length=500)]] | None,
    Query(max_length=10, description="Dimensions, repeated or with commas; `tag:<key>` too"),
]


def _reporting(context: Context) -> CostReporting:
    return CostReporting(context.database, context.bundled_prices)


Reporting = Annotated[CostReporting, Depends(_reporting)]


@router.get("", response_class=Response, responses=FORMS, name="preview_costs")
async def preview_costs(
    request: Request,
    caller: Reader,
    context: Context,
    reporting: Reporting,
    period: Annotated[tuple[str | None, ...], Depends(usage_period)],
    *,
    group_by: Groups = None,
    form: Form = None,
) -> Response:
    """Reports what a period has cost until now, without storing anything.

    Costs are as they were recorded. Lines are rounded so that they add up to the totals, also those of groups.
    """
    names = tuple(name.strip() for said in group_by or () for name in said.split(",") if name.strip())
    start, end, zone = period
    which, chosen = UsageSelection(start, end, zone), _chosen(request, form)
    return _answered(await reporting.preview(actor_of(context, caller), which, names, _render(chosen)), chosen)


@router.post("/report", status_code=201, response_class=Response, responses=MADE, name="create_cost_report")
async def create_cost_report(
    body: ReportIn, caller: Manager, context: Context, reporting: Reporting, key: IdempotencyKey
) -> Response:
    """Makes a draft of a report, which can be adjusted until it is issued; its lines follow the usage."""
    which = UsageSelection(body.start, body.end, body.time_zone)
    made, replayed = await reporting.create(actor_of(context, caller), which, tuple(body.group_by), key)
    return _made(made, replayed=replayed)


@router.get("/reports", name="list_cost_reports")
async def list_cost_reports(
    caller: Reader, context: Context, reporting: Reporting, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[ReportSummaryOut]:
    """Lists the stored reports, newest first."""
    found = await reporting.page(actor_of(context, caller), Page(limit + 1, parse_place(cursor)))
    return page(
        PageOut[ReportSummaryOut],
        map(summary_out, found[:limit]),
        found=found,
        limit=limit,
        cursor_of=lambda last: place_cursor(last.draft.created_at, last.draft.report_id),
    )


@router.get("/reports/{report_id}", response_class=Response, responses=FORMS, name="read_cost_report")
async def read_cost_report(
    report_id: str, request: Request, caller: Reader, context: Context, reporting: Reporting, *, form: Form = None
) -> Response:
    """Returns a report: an issued one byte for byte as it was issued, with its hash in `Repr-Digest` (RFC 9530)."""
    chosen = _chosen(request, form)
    return _answered(await reporting.find(actor_of(context, caller), report_id, _render(chosen)), chosen)


@router.post(
    "/reports/{report_id}/adjustments",
    status_code=201,
    response_class=Response,
    responses=MADE,
    name="adjust_cost_report",
)
async def adjust_cost_report(
    report_id: str, body: AdjustmentIn, caller: Manager, context: Context, reporting: Reporting, *, key: IdempotencyKey
) -> Response:
    """Adds a discount, credit or surcharge to a draft, with its reason; an issued report is not adjusted (409)."""
    actor = actor_of(context, caller)
    made, replayed = await reporting.adjust(actor, report_id, body.amount, body.currency, reason=body.reason, key=key)
    return _made(made, replayed=replayed)


@router.post("/reports/{report_id}/issue", response_class=Response, responses=ONE, name="issue_cost_report")
async def issue_cost_report(report_id: str, caller: Manager, context: Context, reporting: Reporting) -> Response:
    """Issues a draft whose period is over: it is rounded and stored whole, and nothing changes it any more."""
    return _json(await reporting.issue(actor_of(context, caller), report_id))


def _chosen(request: Request, form: ReportForm | None) -> ReportForm:
    if form is not None:
        return form
    accepted = request.headers.get("accept", "")
    if CSV in accepted:
        return ReportForm.CSV
    return ReportForm.MARKDOWN if MARKDOWN in accepted else ReportForm.JSON


def _render(form: ReportForm) -> Render | None:
    return None if form is ReportForm.JSON else _FILES[form][0]


def _answered(found: ReportText, form: ReportForm) -> Response:
    if form is ReportForm.JSON:
        return _json(found)
    _, media_type, ending = _FILES[form]
    terms = found.draft.terms
    name = f"costs-{terms.start.astimezone(parse_time_zone(terms.time_zone)):%Y-%m-%d}.{ending}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(found.text, headers=headers, media_type=media_type)


def _made(made: ReportText, *, replayed: bool) -> Response:
    answer = _json(made, status=201)
    answer.headers["location"] = f"/api/v1{PREFIX}/reports/{made.draft.report_id}"
    mark_replayed(answer, replayed=replayed)
    return answer


def _json(found: ReportText, *, status: int = 200) -> Response:
    answer = Response(found.text, status, media_type="application/json")
    if found.sha256 is not None:
        answer.headers["repr-digest"] = f"sha-256=:{b64encode(bytes.fromhex(found.sha256)).decode()}:"
    return answer
