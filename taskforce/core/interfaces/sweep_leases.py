"""The protocol of leases: which process does a sweep."""

from collections.abc import Collection
from datetime import timedelta
from typing import Protocol


class SweepLeases(Protocol):
    """Grants each sweep to one holder at a time, until its lease expires or is released."""

    async def hold_sweeps(self, sweeps: Collection[str], holder: str, lease: timedelta) -> frozenset[str]:
        """Takes the leases that are free or expired, and renews those that the holder has.

        Args:
            sweeps: The names of the sweeps.
            holder: The process; a name that no other process has.
            lease: The time until the lease expires, unless it is renewed.

        Returns:
            The sweeps that the holder has now.

        Raises:
            Unavailable: PostgreSQL does not answer.
        """
        ...

    async def release_sweeps(self, holder: str) -> None:
        """Ends the leases of a holder now, so that another process need not wait for their expiry.

        Raises:
            Unavailable: PostgreSQL does not answer.
        """
        ...
