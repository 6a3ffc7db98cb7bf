"""The repository of usage buckets."""

from datetime import date, datetime
from typing import Protocol

from taskforce.core.domain.metering.aggregation import Aggregation, AggregationQuery, UsageFilter
from taskforce.core.domain.metering.periods import Period
from taskforce.core.domain.metering.prices import UnitPrice
from taskforce.core.domain.metering.usage_records import RecordPage, RecordPlace


class UsageBuckets(Protocol):
    """The repository of one tenant's usage, summed up by 15 minutes."""

    async def roll_up(self, most: int) -> int:
        """Adds a batch of usage records that are in no bucket to their buckets, the oldest first, and marks them.

        Args:
            most: The number of records at most.

        Returns:
            The number of records; 0 once nothing is left, or while the tenant is being deleted.
        """
        ...

    async def follow_zone(self) -> bool:
        """Takes up the tenant's time zone for sums by days, or makes the next of the earlier days, the newest first.

        Returns:
            Whether there are more; reports read buckets until those are made.
        """
        ...

    async def rebuild(self, period: Period) -> int | None:
        """Replaces the buckets of a period by sums of its usage records; those that are in no bucket stay so.

        Returns:
            The number of records; None where retention has erased some, which changes nothing.
        """
        ...

    async def measure_storage(self, day: date, price: UnitPrice | None = None) -> bool:
        """Adds the bucket of a day's storage, as it is now, unless it exists.

        Args:
            day: The day, UTC; its byte-hours are in the first bucket.
            price: The price of a byte-hour; None costs nothing.

        Returns:
            Whether it was added; a tenant that stores nothing has none.
        """
        ...

    async def count_calls(self, until: datetime, price: UnitPrice | None = None) -> int:
        """Adds the buckets of API calls, of the minutes after the last one that exists; those stay as they are.

        Args:
            until: The time, UTC, a bound of buckets, before which all minutes are stored.
            price: The price of a call; None costs nothing.

        Returns:
            The number of buckets; a quarter of an hour without calls has none.
        """
        ...

    async def aggregate(self, query: AggregationQuery) -> Aggregation:
        """Sums up usage as of one moment: its buckets, and the records that are in none yet."""
        ...

    async def records(self, which: UsageFilter, after: RecordPlace | None, most: int) -> RecordPage:
        """Returns a page of usage records, newest first; it looks at a bounded number of them.

        Args:
            which: The records.
            after: The place after which the page begins; None for the first one.
            most: The number of records at most.
        """
        ...
