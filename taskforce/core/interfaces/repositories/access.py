"""The repositories of policies and rate limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.access.rate_limits import Rate, RateDecision


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A version of a tenant's policy document."""

    version: int
    document: Mapping[str, object]
    saved_by: str
    at: datetime


class PolicyDocuments(Protocol):
    """The repository of a tenant's policy documents, one row for each version."""

    async def current(self) -> PolicyVersion | None:
        """Returns the latest version; None without one."""
        ...

    async def latest(self) -> tuple[int, datetime] | None:
        """Returns number and time of the latest version, without its document; None without one."""
        ...

    async def locked(self) -> PolicyVersion | None:
        """Returns the latest version and locks the document for this transaction; call before `add`."""
        ...

    async def add(self, document: Mapping[str, object], saved_by: str, now: datetime) -> int:
        """Adds the next version and returns its number."""
        ...


class RateBuckets(Protocol):
    """The repository of token buckets, shared by all gateways."""

    async def take(self, bucket: str, rate: Rate, now: datetime) -> RateDecision:
        """Takes one token if there is one, in one statement, by the rules of `rate_limits.take`."""
        ...
