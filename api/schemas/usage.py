"""Usage in responses: records, and aggregations as JSON, JSON Lines and CSV."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime, tzinfo
from decimal import Decimal

from pydantic import BaseModel

from api.schemas.pages import PageOut
from taskforce.core.domain.csv_cells import cell
from taskforce.core.domain.metering.aggregation import COUNTS, Aggregation, UsageGroup, UsageSums
from taskforce.core.domain.metering.usage_records import UsageRecord

_AS_IT_IS = (
    *("kind", "user_id", "agent_id", "agent_version", "session_id", "model", "provider", "tool", "department"),
    *("cost_center", "tags", "estimated", "error_code", "duration_ms", "currency", "price_source"),
)


class CostOut(BaseModel):
    """A cost in one currency, exact: it is rounded when a report is issued.

    Attributes:
        currency: ISO 4217 code.
        amount: The amount, a decimal number.
    """

    currency: str
    amount: str


class UsageSumsOut(BaseModel):
    """Sums of usage.

    Attributes:
        records: Number of records: calls of models and tools, and executions of agents.
        failed: Those without a usable outcome.
        total_tokens: Input and output tokens.
        input_tokens, output_tokens: All tokens of prompts and of replies.
        cached_tokens, cache_write_tokens, audio_input_tokens: Those among the input tokens.
        reasoning_tokens, audio_output_tokens: Those among the output tokens.
        wasted_tokens: Tokens of failed calls.
        estimated_tokens: Tokens that the provider did not report.
        duration_ms: Milliseconds.
        unpriced: Number of records whose price is not known; they are in no cost.
        quantity: Of storage byte-hours, of API calls their number; a decimal number.
        costs: The cost, by currency.
    """

    records: int
    failed: int
    total_tokens: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    wasted_tokens: int
    estimated_tokens: int
    duration_ms: int
    unpriced: int
    quantity: str
    costs: list[CostOut]


class UsageGroupOut(BaseModel):
    """A group of an aggregation.

    Attributes:
        start: Beginning of its step, in the time zone of the aggregation.
        end: End of its step, left out.
        dimensions: The value of each dimension; null for what has none.
        other: Whether it is the rest, of groups that are not told one by one; then it has no dimensions.
        sums: Its sums.
    """

    start: datetime
    end: datetime
    dimensions: dict[str, str | None]
    other: bool
    sums: UsageSumsOut


class UsageAggregationOut(BaseModel):
    """An aggregation of usage, as of one moment.

    Attributes:
        start: Beginning of the period, in the time zone.
        end: End of the period, left out.
        time_zone: IANA name of the time zone of steps.
        step: The division of the period.
        group_by: The dimensions.
        items: The groups, by time, then the largest first; a step without usage has none.
        total: The sums of the whole period.
        truncated: Whether some groups are not told one by one but as `other`.
        whole: Whether all usage of the period is still known: of single records retention erases old ones.
    """

    start: datetime
    end: datetime
    time_zone: str
    step: str
    group_by: list[str]
    items: list[UsageGroupOut]
    total: UsageSumsOut
    truncated: bool
    whole: bool


class UsageRecordOut(BaseModel):
    """A usage record: one call of a model or a tool, or one execution of an agent.

    Attributes:
        kind: `model`, `tool`, `run`, `embedding` or `rag_query`.
        step, call, attempt, part: Its place in the run.
        estimated: How the tokens were counted where the provider did not.
        error_code: Why there was no usable outcome; then the tokens are wasted.
        cost: The exact cost, a decimal number; null where the price is not known, or there is none.
        price_source: Where the price is from.
        tags: The tags of the request.
    """

    at: datetime
    kind: str
    run_id: str
    session_id: str | None
    step: int
    call: int
    attempt: int
    part: int
    user_id: str
    agent_id: str
    agent_version: str | None
    model: str | None
    provider: str | None
    tool: str | None
    department: str | None
    cost_center: str | None
    tags: dict[str, str]
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    estimated: str | None
    error_code: str | None
    duration_ms: int
    cost: str | None
    currency: str | None
    price_source: str | None


class UsagePageOut(PageOut[UsageRecordOut]):
    """A page of usage records.

    Attributes:
        summary: The sums of all that is asked for; with the first page only.
    """

    summary: UsageSumsOut | None


def sums_out(sums: UsageSums) -> UsageSumsOut:
    """Renders sums."""
    return UsageSumsOut.model_construct(
        **{name: getattr(sums, name) for name in COUNTS},
        total_tokens=sums.tokens,
        quantity=_decimal(sums.quantity),
        costs=[CostOut.model_construct(currency=one, amount=_decimal(sums.costs[one])) for one in sums.costs],
    )


def usage_record_out(record: UsageRecord) -> UsageRecordOut:
    """Renders a usage record."""
    place, tokens = record.place, record.tokens
    return UsageRecordOut.model_construct(
        **place._asdict(),
        **{name: getattr(record, name) for name in _AS_IT_IS},
        **{f"{name}_tokens": getattr(tokens, name) for name in tokens.__slots__},
        cost=None if record.cost is None else _decimal(record.cost),
    )


def aggregation_out(found: Aggregation) -> UsageAggregationOut:
    """Renders an aggregation."""
    query, period, zone = found.query, found.query.which.period, found.query.zone
    return UsageAggregationOut.model_construct(
        start=period.start.astimezone(zone),
        end=period.end.astimezone(zone),
        time_zone=str(zone),
        step=query.step.value,
        group_by=list(query.dimensions),
        items=[_group_out(group, query.dimensions, zone) for group in found.groups],
        total=sums_out(found.total),
        truncated=found.truncated,
        whole=found.whole,
    )


def aggregation_lines(found: Aggregation) -> str:
    """Renders an aggregation as JSON Lines: a group a line."""
    return "".join(f"{item.model_dump_json()}\n" for item in aggregation_out(found).items)


def aggregation_csv(found: Aggregation) -> str:
    """Renders an aggregation as CSV (RFC 4180): a group a line, a column for the cost in each currency."""
    out = aggregation_out(found)
    currencies = [cost.currency for cost in out.total.costs]
    counts = [name for name in UsageSumsOut.model_fields if name != "costs"]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["start", "end", *out.group_by, "other", *counts, *(f"cost_{one}" for one in currencies)])
    for item in out.items:
        costs = {cost.currency: cost.amount for cost in item.sums.costs}
        writer.writerow(
            [
                item.start.isoformat(),
                item.end.isoformat(),
                *(cell(item.dimensions.get(name)) for name in out.group_by),
                json.dumps(item.other),
                *(getattr(item.sums, name) for name in counts),
                *(costs.get(one, "0") for one in currencies),
            ]
        )
    return text.getvalue()


def _group_out(group: UsageGroup, dimensions: Sequence[str], zone: tzinfo) -> UsageGroupOut:
    return UsageGroupOut.model_construct(
        start=group.start.astimezone(zone),
        end=group.end.astimezone(zone),
        dimensions=_named(dimensions, group.key),
        other=group.key is None,
        sums=sums_out(group.sums),
    )


def _named(dimensions: Sequence[str], key: Sequence[str] | None) -> dict[str, str | None]:
    return {} if key is None else {name: value or None for name, value in zip(dimensions, key, strict=True)}


def _decimal(amount: Decimal) -> str:
    """Formats an amount without an exponent."""
    return f"{amount:f}"
