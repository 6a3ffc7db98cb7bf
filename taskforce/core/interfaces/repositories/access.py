"""The repositories of policies and rate limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.access.rate_limits import Rate, Taken


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a tenant's policy document."""

    version: int
    document: Mapping[str, object]
    saved_by: str
    at: datetime


class PolicyDocuments(Protocol):
    """The tenant's policy document, version by version."""

    async def current(self) -> PolicyVersion | None:
        """The latest version; None when there was never one."""
        ...

    async def latest(self) -> tuple[int, datetime] | None:
        """Number and time of the latest version, without its document; together they are never another's."""
        ...

    async def locked(self) -> PolicyVersion | None:
        """As `current`, and nobody else adds a version before this transaction ends; read so before `add`."""
        ...

    async def add(self, document: Mapping[str, object], saved_by: str, now: datetime) -> int:
        """Adds the next version and returns its number."""
        ...


class RateBuckets(Protocol):
    """Token buckets that all gateways share."""

    async def take(self, bucket: str, rate: Rate, now: datetime) -> Taken:
        """Takes one token, if there is one, in one statement; agrees with the domain's `rate_limits.take`."""
        ...
