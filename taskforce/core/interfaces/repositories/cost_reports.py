"""The repository of a tenant's cost reports, within one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from taskforce.core.domain.metering.cost_reports import CostReport, DraftReport, ReportStatus
from taskforce.core.domain.paging import Page


@dataclass(frozen=True, slots=True)
class IssuedReport:
    """A report that is issued, with its document.

    Attributes:
        report: The report.
        text: The document as it is read, byte for byte, in UTF-8.
        sha256: The hash of its bytes, in hexadecimal digits.
    """

    report: CostReport
    text: str
    sha256: str


@dataclass(frozen=True, slots=True)
class IssuedDocument:
    """The document of an issued report.

    Attributes:
        text: The report as it was issued, byte for byte, in UTF-8.
        sha256: The hash of its bytes, in hexadecimal digits.
        read: Makes the report of it; that of many thousands of lines takes a second or more.
    """

    text: str
    sha256: str
    read: Callable[[], CostReport]


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A stored cost report.

    Attributes:
        draft: What it is about, and its adjustments.
        issued: Its document; None for a draft.
    """

    draft: DraftReport
    issued: IssuedDocument | None = None


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """A stored cost report in a list.

    Attributes:
        draft: What it is about, and its adjustments.
        status: Its status.
        issued_by: The user who issued it; None for a draft.
        issued_at: The time when it was issued, UTC; None for a draft.
        totals: What it comes to, by currency; empty for a draft.
        sha256: The hash of its document, in hexadecimal digits; None for a draft.
    """

    draft: DraftReport
    status: ReportStatus
    issued_by: str | None = None
    issued_at: datetime | None = None
    totals: Sequence[tuple[str, Decimal]] = field(default=(), hash=False)
    sha256: str | None = None


class CostReports(Protocol):
    """The repository of a tenant's cost reports."""

    async def add(self, draft: DraftReport) -> None:
        """Adds a draft."""
        ...

    async def get(self, report_id: str) -> StoredReport | None:
        """Returns a report; None without one."""
        ...

    async def locked(self, report_id: str) -> StoredReport | None:
        """Returns a report as `get` does, locked until this transaction ends."""
        ...

    async def page(self, page: Page) -> Sequence[ReportSummary]:
        """Returns a page of reports, newest first."""
        ...

    async def adjust(self, draft: DraftReport) -> None:
        """Stores the adjustments of a draft."""
        ...

    async def issue(self, issued: IssuedReport) -> None:
        """Stores the document of a draft, which is issued by that: nothing changes it any more."""
        ...
