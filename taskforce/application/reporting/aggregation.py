"""Reports of usage: aggregations, and the records themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.aggregation import Aggregation, AggregationQuery, UsageFilter
from taskforce.core.domain.metering.periods import Period, TimeStep
from taskforce.core.domain.metering.usage_records import RecordPage, RecordPlace
from taskforce.core.domain.tenants.tenant import TenantSettings
from taskforce.core.domain.time_zones import parse_time_zone
from taskforce.core.interfaces.store import Store


@dataclass(frozen=True, slots=True)
class UsageSelection:
    """Which usage a caller asks for.

    Attributes:
        start: The beginning: a time with its zone, or a date; None for that of the month of the end.
        end: The end, left out: a time with its zone, or a date, whose day is within; None for now.
        zone: IANA name of the time zone of dates and steps; None for that of the tenant.
        values: Values of dimensions that it must have.
    """

    start: str | None = None
    end: str | None = None
    zone: str | None = None
    values: dict[str, Sequence[str]] = field(default_factory=dict)

    def time_zone(self, settings: TenantSettings) -> tzinfo:
        """Returns the time zone of dates and steps.

        Raises:
            Invalid: `time_zone_unknown`.
        """
        return parse_time_zone(self.zone) if self.zone else settings.zone

    def resolve(self, settings: TenantSettings, now: datetime) -> UsageFilter:
        """Returns the usage that is meant.

        Args:
            settings: The settings of the caller's tenant.
            now: The time, UTC.

        Raises:
            Invalid: `time_zone_unknown`, `time_invalid`, `period_invalid`, `period_unaligned`, `dimension_unknown`,
                `filter_invalid`, `kind_unknown` or `currency_unknown`.
        """
        return UsageFilter(Period.parse(self.start, self.end, self.time_zone(settings), now), self.values)


def parse_step(text: str) -> TimeStep:
    """Parses the division of a period.

    Raises:
        Invalid: `step_unknown`.
    """
    try:
        return TimeStep(text)
    except ValueError:
        raise Invalid("step_unknown", f"A period is divided by: {', '.join(TimeStep)}.") from None


async def aggregate_usage(store: Store, tenant_id: str, query: AggregationQuery) -> Aggregation:
    """Sums up the usage of a tenant as of one moment, whatever is rolled up meanwhile."""
    async with store.tenant(tenant_id) as records:
        return await records.usage_buckets.aggregate(query)


async def list_usage(
    store: Store, tenant_id: str, which: UsageFilter, after: RecordPlace | None, most: int
) -> RecordPage:
    """Lists a page of a tenant's usage records, newest first.

    Args:
        store: The tenants' data.
        tenant_id: The tenant.
        which: The records.
        after: The place after which the page begins; None for the first one.
        most: The number of records at most.
    """
    async with store.tenant(tenant_id) as records:
        return await records.usage_buckets.records(which, after, most)
