"""Bounds of what stays open: event streams, requests that wait for a run, and exports."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Self

from taskforce.core.domain.access.fair_shares import FairShares
from taskforce.core.domain.errors import Limited

RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class OpenLimits:
    """Bounds what one gateway keeps open of a kind.

    Attributes:
        in_all: The number of all callers; of those a tenant has a fair share, alone a third.
        per_caller: The number of one user.
    """

    in_all: int
    per_caller: int


class OpenPlace:
    """Holds the place of one open request; as a context manager it gives it back, once.

    Args:
        end: Gives the place back.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end: Callable[[], None] | None = end
        self._kept = False

    def keep(self) -> None:
        """Keeps the place beyond the present block: the response gives it back."""
        self._kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept:
            self._kept = False
        elif self._end is not None:
            self._end()
            self._end = None


class OpenRequests:
    """Counts the open requests of one kind.

    Args:
        kind: The kind in the plural, as it is shown.
        limits: Its bounds.
    """

    def __init__(self, kind: str, limits: OpenLimits) -> None:
        self._kind = kind
        self._most = limits.per_caller
        self._by_caller: Counter[tuple[str, str]] = Counter()
        text = f"Your tenant has its share of the {kind} of this gateway open. Close some, or try again later."
        self._shares = FairShares(limits.in_all, code=f"{kind}_limited", message=text, retry_after=RETRY_SECONDS)

    def __len__(self) -> int:
        return self._by_caller.total()

    def take(self, tenant_id: str, user_id: str) -> OpenPlace:
        """Returns a place for a request.

        Args:
            tenant_id: The caller's tenant.
            user_id: The caller.

        Raises:
            Limited: `streams_limited`, `waits_limited` or `exports_limited`.
        """
        who = (tenant_id, user_id)
        if self._by_caller[who] >= self._most:
            text = f"You have {self._most} {self._kind} open on this gateway. Close some, or try again later."
            raise Limited(f"{self._kind}_limited", text, retry_after=RETRY_SECONDS)
        self._shares.take(tenant_id)
        self._by_caller[who] += 1
        return OpenPlace(partial(self._release, who))

    def offer(self, tenant_id: str, user_id: str) -> OpenPlace | None:
        """Returns a place for a request; None when none is free for the user."""
        with suppress(Limited):
            return self.take(tenant_id, user_id)
        return None

    def _release(self, who: tuple[str, str]) -> None:
        self._shares.release(who[0])
        self._by_caller[who] -= 1
        if not self._by_caller[who]:
            del self._by_caller[who]


class InFlight:
    """The open requests of one gateway.

    Args:
        streams: Bounds of event streams.
        waits: Bounds of requests with `Prefer: wait`.
        exports: Bounds of exports.
    """

    def __init__(
        self,
        *,
        streams: OpenLimits = OpenLimits(1_500, 50),
        waits: OpenLimits = OpenLimits(1_500, 50),
        exports: OpenLimits = OpenLimits(30, 2),
    ) -> None:
        self.streams = OpenRequests("streams", streams)
        self.waits = OpenRequests("waits", waits)
        self.exports = OpenRequests("exports", exports)
