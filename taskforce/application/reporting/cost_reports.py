"""Cost reports of a tenant: previews, drafts that people adjust, and reports that are issued, once."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import sha256

from taskforce.application.idempotency import IdempotentCall, claim
from taskforce.application.identity.principals import Actor
from taskforce.application.reporting.aggregation import UsageSelection
from taskforce.application.tenant_threads import in_thread
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.ids import missing, new_id, parse_id
from taskforce.core.domain.metering.aggregation import (
    BUCKET_DIMENSIONS,
    MEASURED_KINDS,
    AggregationQuery,
    UsageFilter,
    UsageGroup,
)
from taskforce.core.domain.metering.cost_lines import LINE_DIMENSIONS, cost_facts
from taskforce.core.domain.metering.cost_reports import (
    CostAdjustment,
    CostReport,
    DraftReport,
    ReportStatus,
    ReportTerms,
)
from taskforce.core.domain.metering.money import plain
from taskforce.core.domain.metering.periods import Period, counted_until
from taskforce.core.domain.metering.prices import Resource
from taskforce.core.domain.metering.tenant_prices import TenantPriceBook
from taskforce.core.domain.paging import Page
from taskforce.core.domain.time_zones import parse_time_zone
from taskforce.core.interfaces.prices import PriceCatalog
from taskforce.core.interfaces.repositories.cost_reports import IssuedReport, ReportSummary, StoredReport
from taskforce.core.interfaces.store import Records, Store

# All others are exact, and are written without zeros at their end.
_ROUNDED = frozenset({"amount", "subtotal", "adjustments", "total"})
_INSTANT = timedelta(microseconds=1)

Render = Callable[[CostReport], str]
"""Writes a report in one of its forms."""


@dataclass(frozen=True, slots=True)
class ReportText:
    """A report as it is sent.

    Attributes:
        draft: Its id and terms.
        text: The report in the form that was asked for; as JSON an issued one is the very text that was issued.
        sha256: The hash of the bytes of an issued text, in hexadecimal digits; None for all others.
    """

    draft: DraftReport
    text: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class _Usage:
    """The usage of a period, and what is needed to make lines of it."""

    groups: Sequence[UsageGroup]
    dimensions: Sequence[str]
    book: TenantPriceBook

    def report(self, draft: DraftReport, tenant_id: str, status: ReportStatus) -> CostReport:
        """Makes the report of it. That of many thousands of lines takes a second or more."""
        terms = draft.terms
        moments = (terms.end - _INSTANT, terms.start)
        facts = cost_facts(self.groups, self.dimensions, terms.group_by, self.book, moments)
        return CostReport.of(draft, tenant_id, facts, status)


class CostReporting:
    """Makes cost reports. Large ones are made and written in threads, for nothing else would be answered meanwhile.

    Args:
        store: The tenants' data.
        catalog: The bundled prices.
    """

    def __init__(self, store: Store, catalog: PriceCatalog) -> None:
        self._store = store
        self._catalog = catalog

    async def preview(
        self, actor: Actor, which: UsageSelection, group_by: tuple[str, ...], render: Render | None = None
    ) -> ReportText:
        """Reports a period without storing anything.

        Args:
            actor: The caller.
            which: The period.
            group_by: The dimensions of its groups.
            render: Writes it; None writes JSON.

        Raises:
            Invalid: As `UsageSelection.resolve` and `ReportTerms`.
            Conflict: `usage_erased`.
            Limited: `tenant_busy`.
        """
        draft = _draft(actor, which, group_by)
        async with self._store.tenant(actor.principal.tenant.tenant_id) as records:
            usage = await self._usage(records, draft.terms)
        return await _written(actor, draft, usage, ReportStatus.PREVIEW, render)

    async def create(
        self, actor: Actor, which: UsageSelection, group_by: tuple[str, ...], key: str | None = None
    ) -> tuple[ReportText, bool]:
        """Stores a draft, once for each idempotency key.

        Args:
            actor: The caller.
            which: The period.
            group_by: The dimensions of its groups.
            key: The idempotency key, if any.

        Returns:
            The draft, and whether it was made by an earlier request with this key.

        Raises:
            Invalid: As `UsageSelection.resolve` and `ReportTerms`, or `idempotency_key_reused`.
            Conflict: `usage_erased`.
            Limited: `tenant_busy`.
        """
        draft = _draft(actor, which, group_by)
        asked = {"start": which.start, "end": which.end, "time_zone": which.zone, "group_by": list(group_by)}
        call = IdempotentCall(actor.principal.user.user_id, "create_cost_report", key, asked)
        first, usage = {"report_id": draft.report_id}, None
        async with self._store.tenant(actor.principal.tenant.tenant_id) as records:
            earlier = await claim(records, call, first, actor.now)
            if earlier is None:
                usage = await self._usage(records, draft.terms)
                await records.cost_reports.add(draft)
                await records.audit.append(_event(actor, "create", draft, after=_terms(draft)))
        if usage is None:
            return await self.find(actor, str((earlier or first)["report_id"])), True
        return await _written(actor, draft, usage, ReportStatus.DRAFT), False

    async def adjust(
        self, actor: Actor, report_id: str, amount: str, currency: str, *, reason: str, key: str | None = None
    ) -> tuple[ReportText, bool]:
        """Adds a discount, credit or surcharge to a draft, once for each idempotency key.

        Args:
            actor: The caller, its author.
            report_id: The report.
            amount: The amount; negative is a discount.
            currency: ISO 4217 code.
            reason: Why, for people.
            key: The idempotency key, if any.

        Returns:
            The report, and whether an earlier request with this key has adjusted it.

        Raises:
            Missing: `cost_report_not_found`.
            Invalid: As `CostAdjustment.stated` and `DraftReport.adjusted`, or `idempotency_key_reused`.
            Conflict: `cost_report_issued` or `usage_erased`.
            Limited: `tenant_busy`.
        """
        author = actor.principal.user.user_id
        made = CostAdjustment.stated(amount, currency, reason, author, actor.now)
        asked = {"report_id": report_id, "amount": amount, "currency": currency, "reason": reason}
        call = IdempotentCall(author, "adjust_cost_report", key, asked)
        draft, usage = None, None
        async with self._store.tenant(actor.principal.tenant.tenant_id) as records:
            if await claim(records, call, {}, actor.now) is None:
                draft = (await _locked_draft(records, report_id)).adjusted(made)
                await records.cost_reports.adjust(draft)
                after = {"amount": plain(made.amount), "currency": made.currency, "reason": made.reason}
                await records.audit.append(_event(actor, "adjust", draft, after=after))
                usage = await self._usage(records, draft.terms)
        if draft is None or usage is None:
            return await self.find(actor, report_id), True
        return await _written(actor, draft, usage, ReportStatus.DRAFT), False

    async def issue(self, actor: Actor, report_id: str) -> ReportText:
        """Issues a draft: rounds it, and stores it as it is from then on.

        Args:
            actor: The caller.
            report_id: The report.

        Raises:
            Missing: `cost_report_not_found`.
            Conflict: `cost_report_issued`, `cost_report_period_open` or `usage_erased`.
            Limited: `tenant_busy`.
        """
        by, tenant_id = actor.principal.user.user_id, actor.principal.tenant.tenant_id
        async with self._store.tenant(tenant_id) as records:
            draft = await _locked_draft(records, report_id)
            draft.check_issuable(actor.now)
            await self._count_calls(records, actor.now)
            usage = await self._usage(records, draft.terms)

            def issued() -> IssuedReport:
                return _issued(usage.report(draft, tenant_id, ReportStatus.ISSUED).issued(by, actor.now))

            found = await in_thread(tenant_id, issued)
            await records.cost_reports.issue(found)
            totals = {one.currency: plain(one.total) for one in found.report.totals}
            after = {**_terms(draft), "totals": totals, "sha256": found.sha256}
            await records.audit.append(_event(actor, "issue", draft, after=after))
        return ReportText(draft, found.text, found.sha256)

    async def find(self, actor: Actor, report_id: str, render: Render | None = None) -> ReportText:
        """Finds a report: as it was issued, or of a draft what it would be now.

        Args:
            actor: The caller.
            report_id: The report.
            render: Writes it; None writes JSON.

        Raises:
            Missing: `cost_report_not_found`.
            Conflict: `usage_erased`.
            Limited: `tenant_busy`.
        """
        known_id = parse_id(report_id, "cost report")
        async with self._store.tenant(actor.principal.tenant.tenant_id) as records:
            found = _required(await records.cost_reports.get(known_id))
            draft, issued = found.draft, found.issued
            usage = await self._usage(records, draft.terms) if issued is None else None
        if usage is not None:
            return await _written(actor, draft, usage, ReportStatus.DRAFT, render)
        assert issued is not None
        if render is None:
            return ReportText(draft, issued.text, issued.sha256)
        text = await in_thread(actor.principal.tenant.tenant_id, lambda: render(issued.read()))
        return ReportText(draft, text)

    async def page(self, actor: Actor, page: Page) -> Sequence[ReportSummary]:
        """Lists the stored reports, newest first."""
        async with self._store.reading(actor.principal.tenant.tenant_id) as records:
            return await records.cost_reports.page(page)

    async def _count_calls(self, records: Records, now: datetime) -> None:
        # Those since the last rollup would be in no report: neither in this one, nor in one of a later period.
        book = TenantPriceBook(await records.prices.in_force_since(now), await self._catalog.load())
        await records.usage_buckets.count_calls(counted_until(now), book.unit_price(Resource.API_CALL, "", now))

    async def _usage(self, records: Records, terms: ReportTerms) -> _Usage:
        book = TenantPriceBook(await records.prices.in_force_since(terms.start), await self._catalog.load())
        dimensions = tuple(dict.fromkeys((*terms.group_by, *LINE_DIMENSIONS)))
        return _Usage(await _sums(records, terms, dimensions), dimensions, book)


async def _written(
    actor: Actor, draft: DraftReport, usage: _Usage, status: ReportStatus, render: Render | None = None
) -> ReportText:
    tenant_id, write = actor.principal.tenant.tenant_id, render or encode_report
    return ReportText(draft, await in_thread(tenant_id, lambda: write(usage.report(draft, tenant_id, status))))


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
    measured = AggregationQuery(UsageFilter(period, {"kind": MEASURED_KINDS}), known, zone=zone)
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


def _issued(report: CostReport) -> IssuedReport:
    text = encode_report(report)
    return IssuedReport(report, text, sha256(text.encode()).hexdigest())


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
