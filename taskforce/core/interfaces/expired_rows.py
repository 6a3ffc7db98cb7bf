"""The protocol of expired rows: those of all tenants that are to be erased."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from taskforce.core.domain.tenants.tenant import Tenant


class ExpiredKind(StrEnum):
    """A kind of rows that are erased in time."""

    AUDIT = "audit"
    RUN = "run"
    RESULT = "result"
    ANSWER = "answer"
    DELIVERY = "delivery"
    REQUEST = "request"
    USAGE = "usage"
    STATISTICS = "statistics"
    LEDGER = "ledger"


class ExpiredRows(Protocol):
    """Look-ups of the tenants that have expired rows."""

    async def expired_tenants(self, kind: ExpiredKind, at: datetime) -> Sequence[Tenant]:
        """Returns the tenants with rows of a kind that may be erased; one statement finds them.

        Args:
            kind: The kind of rows.
            at: The time, UTC, from which a setting of the tenant counts; for sealed audit events and statistics the
                time before which the oldest is, for results the time at which they are kept no longer.

        Returns:
            The tenants, disabled ones and those that are being deleted too. Some of them may have nothing to erase: it
            is decided row by row when it is erased.
        """
        ...
