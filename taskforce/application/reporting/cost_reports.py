"""Cost reports of a tenant: previews, drafts that people adjust, and reports that are issued, once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import sha256

from taskforce.application.identity.principals import Actor
from taskforce.application.reporting.aggregation import UsageSelection
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.ids import missing, new_id, parse_id
from taskforce.core.domain.metering.aggregation import BUCKET_DIMENSIONS, AggregationQuery, UsageFilter, UsageGroup
from taskforce.core.domain.metering.cost_lines import LINE_DIMENSIONS, cost_facts
from taskforce.core.domain.metering.cost_reports import (
    CostAdjustment,
    CostReport,
    DraftReport,
    ReportStatus,
    ReportTerms,
)
from taskforce.core.domain.metering.money import plain
from taskforce.core.domain.metering.periods import Period
from taskforce.core.domain.metering.tenant_prices import TenantPriceBook
from taskforce.core.domain.paging import Page
from taskforce.core.domain.time_zones import parse_time_zone
from taskforce.core.interfaces.prices import PriceCatalog
from taskforce.core.interfaces.repositories.cost_reports import IssuedDocument, ReportSummary, StoredReport
from taskforce.core.interfaces.store import Records, Store

_MEASURED = ("storage", "api")
# All others are exact, and are written without zeros at their end.
_ROUNDED = frozenset({"amount", "subtotal", "adjustments", "total"})
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ReportText:
    """A report as it is sent.

    Attributes:
        report: The report.
        text: It as JSON; of an issued one the text that was issued.
        sha256: The hash of the text's bytes, in hexadecimal digits; None for what is not issued.
    """

    report: CostReport
    text: str
    sha256: str | None = None


class CostReporting:
    """Makes cost reports.

    Args:
        store: The tenants' data.
        catalog: The bundled prices.
    """

    def __init__(self, store: Store, catalog: PriceCatalog) -> None:
        self._store = store
        self._catalog = catalog

    async def preview(self, actor: Actor, which: UsageSelection, group_by: tuple[str, ...]) -> ReportText:
        """Reports a period without storing anything.

        Args:
            actor: The caller.
            which: The period.
            group_by: The dimensions of its groups.

        Raises:
            Invalid: As `UsageSelection.resolve` and `ReportTerms`.
            Conflict: `usage_erased`.
        """
        draft = _draft(actor, which, group_by)
        async with self._store.tenant(actor.principal.tenant.tenant_id) as records:
            return _text(await self._reported(records, draft, ReportStatus.PREVIEW))

    async def create(self, actor: Actor, which: UsageSelection, group_by: tuple[str, ...]) -> ReportText:
        """Stores a draft.

        Args:
            actor: The caller.
            which: The period.
            group_by: The dimensions of its groups.

        Raises:
            Invalid: As `UsageSelection.resolve` and `ReportTerms`.
            Conflict: `usage_erased`.
        """
        draft = _draft(actor, which, group_by)
        async with self._store.tenant(actor.principal.tenant.tenant_id) as records:
            report = await self._reported(records, draft, ReportStatus.DRAFT)
            await records.cost_reports.add(draft)
            await records.audit.append(_event(actor, "create", draft, after=_terms(draft)))
        return _text(report)

    async def adjust(self, actor: Actor, report_id: str, amount: str, currency: str, *, reason: str) -> ReportText:
        """Adds a discount, credit or surcharge to a draft.

        Args:
            actor: The caller, its author.
            report_id: The report.
            amount: The amount; negative is a discount.
            currency: ISO 4217 code.
            reason: Why, for people.

        Raises:
            Missing: `cost_report_not_found`.
            Invalid: As `CostAdjustment.stated` and `DraftReport.adjusted`.
            Conflict: `cost_report_issued` or `usage_erased`.
        """
        author = actor.principal.user.user_id
        adjustment = CostAdjustment.stated(amount, currency, reason, author, actor.now)
        async with self._store.tenant(actor.principal.tenant.tenant_id) as records:
            draft = (await _locked_draft(records, report_id)).adjusted(adjustment)
            await records.cost_reports.adjust(draft)
            after = {"amount": plain(adjustment.amount), "currency": adjustment.currency, "reason": reason}
            await records.audit.append(_event(actor, "adjust", draft, after=after))
            return _text(await self._reported(records, draft, ReportStatus.DRAFT))

    async def issue(self, actor: Actor, report_id: str) -> ReportText:
        """Issues a draft: rounds it, and stores it as it is from then on.

        Args:
            actor: The caller.
            report_id: The report.

        Raises:
            Missing: `cost_report_not_found`.
            Conflict: `cost_report_issued`, `cost_report_period_open` or `usage_erased`.
        """
        async with self._store.tenant(actor.principal.tenant.tenant_id) as records:
            draft = await _locked_draft(records, report_id)
            draft.check_issuable(actor.now)
            report = await self._reported(records, draft, ReportStatus.ISSUED)
            issued = report.issued(actor.principal.user.user_id, actor.now)
            text = encode_report(issued)
            document = IssuedDocument(text, sha256(text.encode()).hexdigest(), issued)
            await records.cost_reports.issue(document)
            totals = {one.currency: plain(one.total) for one in issued.totals}
            after = {**_terms(draft), "totals": totals, "sha256": document.sha256}
            await records.audit.append(_event(actor, "issue", draft, after=after))
        return ReportText(issued, text, document.sha256)

    async def find(self, actor: Actor, report_id: str) -> ReportText:
        """Finds a report: as it was issued, or of a draft what it would be now.

        Raises:
            Missing: `cost_report_not_found`.
            Conflict: `usage_erased`.
        """
        known_id = parse_id(report_id, "cost report")
        async with self._store.tenant(actor.principal.tenant.tenant_id) as records:
            found = _required(await records.cost_reports.get(known_id))
            if found.issued is not None:
                return ReportText(found.issued.report, found.issued.text, found.issued.sha256)
            return _text(await self._reported(records, found.draft, ReportStatus.DRAFT))

    async def page(self, actor: Actor, page: Page) -> Sequence[ReportSummary]:
        """Lists the stored reports, newest first."""
        async with self._store.reading(actor.principal.tenant.tenant_id) as records:
            return await records.cost_reports.page(page)

    async def _reported(self, records: Records, draft: DraftReport, status: ReportStatus) -> CostReport:
        terms = draft.terms
        bundled = await self._catalog.load()
        book = TenantPriceBook(await records.prices.in_force_since(terms.start), bundled)
        dimensions = tuple(dict.fromkeys((*terms.group_by, *LINE_DIMENSIONS)))
        groups = await _sums(records, terms, dimensions)
        moments = (terms.end - _INSTANT, terms.start)
        facts = cost_facts(groups, dimensions, terms.group_by, book, moments)
        return CostReport.of(draft, records.tenant_id, facts, status)


async def _sums(records: Records, terms: ReportTerms, dimensions: tuple[str, ...]) -> Sequence[UsageGroup]:
    period, zone = Period(terms.start, terms.end), parse_time_zone(terms.time_zone)
    found = await records.usage_buckets.aggregate(AggregationQuery(UsageFilter(period), dimensions, zone=zone))
    if not found.query.reads_records:
        return found.groups
    if not found.whole:
        text = "Retention has erased usage records of this period: it can no longer be reported by tags."
        raise Conflict("usage_erased", text)
    # Of what is measured there are buckets alone, and it has no tags.
    known = tuple(name for name in dimensions if name in BUCKET_DIMENSIONS)
    measured = AggregationQuery(UsageFilter(period, {"kind": _MEASURED}), known, zone=zone)
    beside = await records.usage_buckets.aggregate(measured)
    return [*found.groups, *(_widened(group, known, dimensions) for group in beside.groups)]


def _widened(group: UsageGroup, known: Sequence[str], dimensions: Sequence[str]) -> UsageGroup:
    if group.key is None:
        return group
    values = dict(zip(known, group.key, strict=True))
    return replace(group, key=tuple(values.get(name, "") for name in dimensions))


def _draft(actor: Actor, which: UsageSelection, group_by: tuple[str, ...]) -> DraftReport:
    settings = actor.principal.tenant.settings
    period = which.resolve(settings, actor.now).period
    terms = ReportTerms(period.start, period.end, str(which.time_zone(settings)), group_by)
    return DraftReport(new_id(), terms, actor.principal.user.user_id, actor.now)


async def _locked_draft(records: Records, report_id: str) -> DraftReport:
    found = _required(await records.cost_reports.locked(parse_id(report_id, "cost report")))
    if found.issued is not None:
        text = (
            "This report is issued, and does not change any more. Make another one, or adjust that of a later period."
        )
        raise Conflict("cost_report_issued", text)
    return found.draft


def _required(found: StoredReport | None) -> StoredReport:
    if found is None:
        raise missing("cost report")
    return found


def _event(actor: Actor, action: str, draft: DraftReport, *, after: Mapping[str, object]) -> AuditEvent:
    return actor.event(f"cost_report.{action}", "cost_report", draft.report_id, before=None, after=after)


def _terms(draft: DraftReport) -> dict[str, object]:
    terms = draft.terms
    return {
        "start": terms.start.isoformat(),
        "end": terms.end.isoformat(),
        "time_zone": terms.time_zone,
        "group_by": list(terms.group_by),
    }


def _text(report: CostReport) -> ReportText:
    return ReportText(report, encode_report(report))


def encode_report(report: CostReport) -> str:
    """Writes a report as JSON: its attributes by their names, and decimals as texts without an exponent."""
    return json.dumps(_plain(report), ensure_ascii=False, separators=(",", ":"))


def _field(name: str, value: object) -> object:
    return format(value, "f") if isinstance(value, Decimal) and name in _ROUNDED else _plain(value)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _field(one.name, getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value
