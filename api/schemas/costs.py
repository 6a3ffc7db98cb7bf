"""Cost reports in requests and responses. Amounts are decimals as texts, for JSON's numbers are not exact."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.request_body import RequestBody
from taskforce.core.domain.metering.cost_reports import LONGEST_REASON
from taskforce.core.interfaces.repositories.cost_reports import ReportSummary

Moment = Annotated[str, Field(min_length=1, max_length=100)]


class ReportIn(RequestBody):
    """A report to be made.

    Attributes:
        start: From when on: a time with its zone, or a date.
        end: Until when: a time with its zone, left out, or a date, whose day is within.
        time_zone: IANA name of the time zone of dates; left out, the tenant's.
        group_by: The dimensions of its groups: `department`, `cost_center`, `agent`, `user`, `model`, `tag:<key>`.
    """

    start: Moment
    end: Moment
    time_zone: Moment | None = None
    group_by: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=10)] = []


class AdjustmentIn(RequestBody):
    """A discount, credit or surcharge to be added to a draft.

    Attributes:
        amount: The amount, a decimal number of no more decimals than its currency; negative is a discount.
        currency: A code of ISO 4217.
        reason: Why, for people.
    """

    amount: Annotated[str, Field(min_length=1, max_length=40)]
    currency: Annotated[str, Field(min_length=1, max_length=20)]
    reason: Annotated[str, Field(max_length=LONGEST_REASON)]


class CostLineOut(BaseModel):
    """A line of a cost report.

    Attributes:
        dimensions: The values of the dimensions that the report is grouped by; null for what has none.
        other: Whether it is the rest, of groups that are not told one by one.
        kind: `model`, `embedding`, `tool`, `run`, `rag_query`, `storage`, `api`; null for the rest.
        part: The part of a model's tokens: `input`, `cached`, `output` and others, or `tokens` for all together.
        quantity: How many units.
        unit_price: The price of one unit; null without a price.
        averaged: Whether the unit price is the average of several prices.
        cost: The exact cost, as it was recorded; null without a price.
        amount: The cost, rounded so that all amounts add up to the subtotal; null without a price.
    """

    dimensions: dict[str, str | None]
    other: bool
    kind: str | None
    model: str | None
    provider: str | None
    tool: str | None
    part: str | None
    quantity: str
    unit: str
    unit_price: str | None
    averaged: bool
    currency: str | None
    cost: str | None
    amount: str | None


class WastedTokensOut(BaseModel):
    """Tokens of failed calls; what they have cost is within the lines."""

    dimensions: dict[str, str | None]
    other: bool
    model: str | None
    provider: str | None
    currency: str | None
    tokens: int


class AdjustmentOut(BaseModel):
    """A discount, credit or surcharge, with who made it, when and why."""

    amount: str
    currency: str
    reason: str
    author: str
    at: datetime


class GroupTotalOut(BaseModel):
    """The amount of a group, of all its lines in one currency."""

    dimensions: dict[str, str | None]
    other: bool
    amount: str


class CurrencyTotalOut(BaseModel):
    """The costs of a period in one currency.

    Attributes:
        cost: The exact sum of the lines.
        subtotal: The sum of the lines' amounts.
        adjustments: The sum of the adjustments.
        total: Subtotal and adjustments together.
        groups: The amounts of the groups, the largest first; they add up to the subtotal.
    """

    currency: str
    cost: str
    subtotal: str
    adjustments: str
    total: str
    groups: list[GroupTotalOut]


class CostReportOut(BaseModel):
    """A cost report.

    Attributes:
        report_id: Its id; null for a preview.
        status: `preview`, `draft` or `issued`.
        start: Beginning of the period, UTC.
        end: End of the period, UTC, left out.
        time_zone: IANA name of the time zone of the period's days.
        totals: What it comes to, by currency; amounts in several are never added up.
        lines: The lines with a price.
        unpriced: The lines of usage whose price is not known; they are in no sum.
        wasted: The tokens of failed calls.
    """

    report_id: str | None
    tenant_id: str
    status: str
    start: datetime
    end: datetime
    time_zone: str
    group_by: list[str]
    created_by: str
    created_at: datetime
    issued_by: str | None
    issued_at: datetime | None
    totals: list[CurrencyTotalOut]
    lines: list[CostLineOut]
    unpriced: list[CostLineOut]
    wasted: list[WastedTokensOut]
    adjustments: list[AdjustmentOut]


class ReportTotalOut(BaseModel):
    """The total of a report in one currency."""

    currency: str
    total: str


class ReportSummaryOut(BaseModel):
    """A stored report in a list.

    Attributes:
        status: `draft` or `issued`.
        adjustments: Number of its adjustments.
        totals: What it comes to, by currency; empty for a draft.
        sha256: The hash of the issued document, in hexadecimal digits; null for a draft.
    """

    report_id: str
    status: str
    start: datetime
    end: datetime
    time_zone: str
    group_by: list[str]
    created_by: str
    created_at: datetime
    issued_by: str | None
    issued_at: datetime | None
    adjustments: int
    totals: list[ReportTotalOut]
    sha256: str | None


def summary_out(found: ReportSummary) -> ReportSummaryOut:
    """Renders a stored report of a list."""
    draft, terms = found.draft, found.draft.terms
    return ReportSummaryOut.model_construct(
        report_id=draft.report_id,
        status=found.status.value,
        start=terms.start,
        end=terms.end,
        time_zone=terms.time_zone,
        group_by=list(terms.group_by),
        created_by=draft.created_by,
        created_at=draft.created_at,
        issued_by=found.issued_by,
        issued_at=found.issued_at,
        adjustments=len(draft.adjustments),
        totals=[ReportTotalOut.model_construct(currency=one, total=f"{amount:f}") for one, amount in found.totals],
        sha256=found.sha256,
    )
