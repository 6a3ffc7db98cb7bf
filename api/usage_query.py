"""What routes of usage take as query parameters, and the forms in which they answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request, Response

from api.auth.caller import Caller
from api.composition import GatewayContext
from api.schemas.usage import UsageAggregationOut, aggregation_csv, aggregation_lines, aggregation_out
from api.web.ndjson import MEDIA_TYPE
from taskforce.application.reporting.aggregation import UsageSelection, aggregate_usage, parse_step
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.aggregation import (
    BUCKET_DIMENSIONS,
    MOST_GROUPS,
    RECORD_DIMENSIONS,
    TAG,
    Aggregation,
    AggregationQuery,
)

CSV = "text/csv"
Text = Annotated[str | None, Query(min_length=1, max_length=100)]
Value = Annotated[str, Query(max_length=500)]
Values = Annotated[list[Value] | None, Query(max_length=100)]
Tags = Annotated[list[Value] | None, Query(max_length=10, description="`key=value` of a tag of the request")]
Start = Annotated[Text, Query(description="From when on: a time with its zone, or a date; the month by default")]
End = Annotated[Text, Query(description="Until when: a time with its zone, left out, or a date, whose day is within")]
Zone = Annotated[Text, Query(description="IANA name of the time zone of dates and steps; the tenant's by default")]


def usage_period(start: Start = None, end: End = None, time_zone: Zone = None) -> tuple[str | None, ...]:
    """Reads period and time zone."""
    return start, end, time_zone


def usage_selection(
    period: Annotated[tuple[str | None, ...], Depends(usage_period)],
    user: Values = None,
    agent: Values = None,
    agent_version: Values = None,
    model: Values = None,
    *,
    provider: Values = None,
    tool: Values = None,
    department: Values = None,
    cost_center: Values = None,
    kind: Values = None,
    currency: Values = None,
    session: Values = None,
    run: Values = None,
    tag: Tags = None,
) -> UsageSelection:
    """Reads which usage is asked for. Of several values of a dimension it has any; an empty one stands for none.

    Raises:
        Invalid: `filter_invalid`.
    """
    of_buckets = (user, agent, agent_version, model, provider, tool, department, cost_center, kind, currency)
    named = zip((*BUCKET_DIMENSIONS, *RECORD_DIMENSIONS), (*of_buckets, session, run), strict=True)
    values: dict[str, Sequence[str]] = {name: said for name, said in named if said is not None}
    start, end, zone = period
    return UsageSelection(start, end, zone, values | _tags(tag or ()))


def _tags(said: Sequence[str]) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for one in said:
        key, separator, value = one.partition("=")
        if not separator:
            raise Invalid("filter_invalid", "A tag is sent as `tag=key=value`.")
        found[f"{TAG}{key}"] = [*found.get(f"{TAG}{key}", ()), value]
    return found


Selection = Annotated[UsageSelection, Depends(usage_selection)]
GroupBy = Annotated[
    list[Annotated[str, Query(max_length=500)]] | None,
    Query(max_length=10, description="Dimensions, repeated or with commas; `session`, `run` and `tag:<key>` too"),
]
Step = Annotated[str, Query(max_length=20, description="15min, hour, day, week, month or none")]
Most = Annotated[int | None, Query(ge=1, le=MOST_GROUPS, description="Groups of a step at most; the rest is `other`")]


@dataclass(frozen=True, slots=True)
class UsageGrouping:
    """Holds by what usage is grouped: dimensions, the division of the period, and how many groups of a step are told.

    Attributes:
        dimensions: The dimensions.
        step: The division of the period.
        most: Groups of a step at most.
    """

    dimensions: tuple[str, ...]
    step: str
    most: int | None


def usage_grouping(group_by: GroupBy = None, step: Step = "none", limit: Most = None) -> UsageGrouping:
    """Reads by what usage is grouped."""
    names = (name.strip() for said in group_by or () for name in said.split(","))
    return UsageGrouping(tuple(name for name in names if name), step, limit)


Grouping = Annotated[UsageGrouping, Depends(usage_grouping)]


async def aggregated(context: GatewayContext, caller: Caller, which: UsageSelection, by: UsageGrouping) -> Aggregation:
    """Sums up what a caller asks for."""
    settings = caller.principal.tenant.settings
    chosen, zone = which.resolve(settings, context.clock()), which.time_zone(settings)
    query = AggregationQuery(chosen, by.dimensions, parse_step(by.step), zone, by.most)
    return await aggregate_usage(context.database, caller.tenant_id, query)


def answered(request: Request, found: Aggregation) -> Response | UsageAggregationOut:
    """Answers in the form that the request accepts: JSON, JSON Lines or CSV."""
    accepted = request.headers.get("accept", "")
    if CSV in accepted:
        named = {"content-disposition": 'attachment; filename="usage.csv"'}
        return Response(aggregation_csv(found), headers=named, media_type=CSV)
    if MEDIA_TYPE in accepted:
        return Response(aggregation_lines(found), media_type=MEDIA_TYPE)
    return aggregation_out(found)
