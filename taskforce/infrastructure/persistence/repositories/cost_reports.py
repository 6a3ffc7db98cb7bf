"""Repository of cost reports in PostgreSQL."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.cost_reports import CostReportRow
from taskforce.core.domain.metering.cost_reports import (
    CostAdjustment,
    CostReport,
    DraftReport,
    ReportStatus,
    ReportTerms,
)
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.repositories.cost_reports import (
    IssuedDocument,
    IssuedReport,
    ReportSummary,
    StoredReport,
)
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import Codec, Repository, newest, table, where

_REPORTS = table(CostReportRow)
_TERMS, _REPORT = Codec(ReportTerms), Codec(CostReport)
_ADJUSTMENTS = Codec(tuple[CostAdjustment, ...])
_OF = where(_REPORTS, "report_id")
_DRAFT: Final = ("tenant_id", "report_id", "status", "terms", "adjustments", "created_by", "created_at")
_ISSUED: Final = ("status", "issued_by", "issued_at", "totals", "document", "sha256")
_ADD = Query(insert(_REPORTS), sets=_DRAFT)
_GET = Query(sa.select(_REPORTS).where(_OF))
_LOCK = Query(sa.select(_REPORTS).where(_OF).with_for_update())
_ADJUST = Query(sa.update(_REPORTS).where(_OF), sets=("adjustments",))
_ISSUE = Query(sa.update(_REPORTS).where(_OF), sets=_ISSUED)
# Documents may have some megabytes.
_LISTED = [column for column in _REPORTS.c if column.name != "document"]


class CostReportRepository(Repository):
    """Stores a tenant's cost reports; fulfils `CostReports`."""

    async def add(self, draft: DraftReport) -> None:
        """Adds a draft."""
        values = {
            "tenant_id": self._tenant_id,
            "report_id": draft.report_id,
            "status": ReportStatus.DRAFT.value,
            "terms": _TERMS.dump(draft.terms),
            "adjustments": _ADJUSTMENTS.dump(draft.adjustments),
            "created_by": draft.created_by,
            "created_at": draft.created_at,
        }
        await self._connection.change(_ADD, values)

    async def get(self, report_id: str) -> StoredReport | None:
        """Returns a report; None without one."""
        row = await self._connection.first(_GET, self._of(report_id=report_id))
        return None if row is None else _stored(row)

    async def locked(self, report_id: str) -> StoredReport | None:
        """Returns a report as `get` does, locked until this transaction ends."""
        row = await self._connection.first(_LOCK, self._of(report_id=report_id))
        return None if row is None else _stored(row)

    async def page(self, page: Page) -> Sequence[ReportSummary]:
        """Returns a page of reports, newest first."""
        query = sa.select(*_LISTED).where(_REPORTS.c.tenant_id == self._tenant_id)
        rows = await self._listed(newest(query, _REPORTS.c.created_at, _REPORTS.c.report_id, page))
        return [_summary(row) for row in rows]

    async def adjust(self, draft: DraftReport) -> None:
        """Stores the adjustments of a draft."""
        values = {"adjustments": _ADJUSTMENTS.dump(draft.adjustments)}
        await self._connection.change(_ADJUST, {**self._of(report_id=draft.report_id), **values})

    async def issue(self, issued: IssuedReport) -> None:
        """Stores the document of a draft; a trigger of the database keeps it as it is from then on."""
        report = issued.report
        values = {
            "status": report.status.value,
            "issued_by": report.issued_by,
            "issued_at": report.issued_at,
            "totals": [[one.currency, f"{one.total:f}"] for one in report.totals],
            "document": issued.text,
            "sha256": issued.sha256,
        }
        await self._connection.change(_ISSUE, {**self._of(report_id=report.report_id), **values})


def _draft(row: Row) -> DraftReport:
    return DraftReport(
        report_id=row.report_id,
        terms=_TERMS.load(row.terms),
        created_by=row.created_by,
        created_at=row.created_at,
        adjustments=_ADJUSTMENTS.load(row.adjustments),
    )


def _stored(row: Row) -> StoredReport:
    if row.document is None:
        return StoredReport(_draft(row))
    text: str = row.document
    return StoredReport(_draft(row), IssuedDocument(text, row.sha256, lambda: _report(text)))


def _report(text: str) -> CostReport:
    report: CostReport = _REPORT.load(json.loads(text))
    return report


def _summary(row: Row) -> ReportSummary:
    return ReportSummary(
        draft=_draft(row),
        status=ReportStatus(row.status),
        issued_by=row.issued_by,
        issued_at=row.issued_at,
        totals=[(currency, Decimal(amount)) for currency, amount in row.totals or ()],
        sha256=row.sha256,
    )
