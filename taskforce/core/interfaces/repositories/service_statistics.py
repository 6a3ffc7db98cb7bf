"""The protocol of the repository of service statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.metering.service_levels import ServiceKind, ServiceStatistics


@dataclass(frozen=True, slots=True)
class MinuteStatistics:
    """Sums that a process has counted within one minute.

    Attributes:
        kind: What was called.
        name: The template of the route, the agent or the model.
        status_class: How it ended, for example `2xx`.
        minute: The beginning of the minute, UTC.
        process_id: The process.
        statistics: The sums.
    """

    kind: ServiceKind
    name: str
    status_class: str
    minute: datetime
    process_id: str
    statistics: ServiceStatistics


@dataclass(frozen=True, slots=True)
class NamedStatistics:
    """The statistics of one endpoint, agent or model.

    Attributes:
        kind: What was called.
        name: Its name.
        statistics: The sums.
    """

    kind: ServiceKind
    name: str
    statistics: ServiceStatistics


class StatisticsRepository(Protocol):
    """The service statistics of one tenant."""

    async def save(self, minutes: Sequence[MinuteStatistics]) -> None:
        """Stores sums in place of those that the same process has stored of the same minute."""
        ...

    async def sums(
        self,
        kinds: Sequence[ServiceKind],
        since: datetime,
        until: datetime,
        *,
        after: tuple[str, str] | None = None,
        most: int | None = None,
    ) -> Sequence[NamedStatistics]:
        """Adds up a period by name, over all processes.

        Args:
            kinds: The kinds.
            since: The beginning of the first minute, UTC.
            until: The end of the last one; minutes that begin before it count.
            after: The kind and name of the last entry of the page before.
            most: The entries at most; None for all.

        Returns:
            Entries in the order of kind and name.
        """
        ...

    async def total(self, kind: ServiceKind, since: datetime, until: datetime) -> ServiceStatistics:
        """Adds up a period over all names of a kind."""
        ...

    async def drop(self, before: datetime, most: int) -> int:
        """Drops minutes that began before a time; returns how many rows there were, at most `most`."""
        ...
