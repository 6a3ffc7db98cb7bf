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
        limits: The bounds of the kind.
        refused: Makes the error for those beyond them.
    """

    def __init__(self, limits: OpenLimits, refused: Callable[[], Limited]) -> None:
        self._most = limits.per_caller
        self._refused = refused
        self._by_caller: Counter[tuple[str, str]] = Counter()
        self._shares = FairShares(limits.in_all, refused)

    def __len__(self) -> int:
        return self._by_caller.total()

    def take(self, tenant_id: str, user_id: str) -> OpenPlace:
        """Returns a place for a request.

        Args:
            tenant_id: The caller's tenant.
            user_id: The caller.

        Raises:
            Limited: `streams_limited`, `waits_limited` or `exports_limited`: the user, or its tenant, has too many.
        """
        who = (tenant_id, user_id)
        if self._by_caller[who] >= self._most:
            raise self._refused()
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
        self.streams = OpenRequests(streams, _streams)
        self.waits = OpenRequests(waits, _waits)
        self.exports = OpenRequests(exports, _exports)


def _streams() -> Limited:
    text = "You, or your tenant, have too many event streams open here. Close some, or try again later."
    return Limited("streams_limited", text, retry_after=RETRY_SECONDS)


def _waits() -> Limited:
    text = "You, or your tenant, have too many requests waiting here. Ask without a wait, or try again later."
    return Limited("waits_limited", text, retry_after=RETRY_SECONDS)


def _exports() -> Limited:
    text = "You, or your tenant, have too many exports open here. Wait until one is done."
    return Limited("exports_limited", text, retry_after=RETRY_SECONDS)
