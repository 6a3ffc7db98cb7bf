"""Deleting a tenant: how it ends its runs, the phases that it goes through, and what its report says.

The report outlives the tenant and is its tombstone: an id that was deleted is not given again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from taskforce.core.domain.audit.chain import Anchor
from taskforce.core.domain.errors import Conflict, Invalid

LONGEST_DRAIN: Final = timedelta(days=30)
REMAINS: Final = (
    "This report.",
    "The history of the deletion's own workflow in Temporal, until the namespace's retention; it names the tenant.",
    "What processes have logged, and backups of the database, for as long as you keep them.",
    "Copies in the memory of processes until they end; nobody reaches them, for the id is not given again.",
    "Exports of the audit log, and whatever its runs have sent to others.",
)
"""What the product cannot take back."""


class Phase(StrEnum):
    """What a deletion has done, in this order."""

    BEGUN = "begun"
    RUNS_ENDED = "runs_ended"
    DATA_ERASED = "data_erased"
    HISTORIES_DELETED = "histories_deleted"
    VERIFIED = "verified"


class DeletionStatus(StrEnum):
    """What a deletion is doing."""

    REQUESTED = "requested"
    ENDING_RUNS = "ending_runs"
    ERASING = "erasing"
    KEEPING_LOG = "keeping_log"
    DONE = "done"


_DOING: Final[Mapping[Phase | None, DeletionStatus]] = {
    None: DeletionStatus.REQUESTED,
    Phase.BEGUN: DeletionStatus.ENDING_RUNS,
    Phase.RUNS_ENDED: DeletionStatus.ERASING,
    Phase.DATA_ERASED: DeletionStatus.ERASING,
    Phase.HISTORIES_DELETED: DeletionStatus.KEEPING_LOG,
    Phase.VERIFIED: DeletionStatus.DONE,
}


@dataclass(frozen=True, slots=True)
class DeletionOrder:
    """What was asked for.

    Attributes:
        tenant_id: The tenant that goes.
        requested_by: Who asked: a user of the platform's tenant.
        requested_at: When, UTC.
        request_id: By which HTTP request.
        runs_until: Until when runs that are under way may go on; None cancels them at once.
    """

    tenant_id: str
    requested_by: str
    requested_at: datetime
    request_id: str | None = None
    runs_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """A phase that is over, and what came of it."""

    phase: Phase
    at: datetime
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Deletion:
    """The report of a deletion, as far as it has come.

    Attributes:
        order: What was asked for.
        home_id: The tenant that keeps the report: the platform's.
        log_kept_until: The audit log stays until then, for who could misuse the deletion to hide what was just done.
        erased: Rows erased, by table.
        passed: The phases that are over.
        log_end: Where the audit log ended; None while it is kept.
        erased_at: When the last row went.
    """

    order: DeletionOrder
    home_id: str
    log_kept_until: datetime
    erased: Mapping[str, int] = field(hash=False)
    passed: tuple[Passed, ...] = ()
    log_end: Anchor | None = None
    erased_at: datetime | None = None

    @property
    def status(self) -> DeletionStatus:
        """What it is doing."""
        return _DOING[next((phase for phase in reversed(Phase) if self.facts(phase) is not None), None)]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.status is DeletionStatus.DONE

    def facts(self, phase: Phase) -> Mapping[str, object] | None:
        """What came of a phase; None while it is not over."""
        return next((one.facts for one in self.passed if one.phase is phase), None)


def drains_until(drain_seconds: int | None, now: datetime) -> datetime | None:
    """Until when runs may go on; None when they are cancelled at once.

    Args:
        drain_seconds: What was asked for.
        now: The time, UTC.

    Raises:
        Invalid: `drain_invalid`.
    """
    if drain_seconds is None:
        return None
    most = int(LONGEST_DRAIN.total_seconds())
    if not 1 <= drain_seconds <= most:
        raise Invalid("drain_invalid", f"Runs are drained for 1 to {most} seconds.")
    return now + timedelta(seconds=drain_seconds)


def require_deletable(tenant_id: str, own_id: str, platform_id: str) -> None:
    """Keeps somebody from deleting the ground that they stand on.

    Args:
        tenant_id: The tenant that shall go.
        own_id: The tenant that whoever asks acts in.
        platform_id: The platform's tenant.

    Raises:
        Conflict: `not_your_own`.
    """
    if tenant_id in {own_id, platform_id}:
        raise Conflict("not_your_own", "Neither the platform's tenant nor the one that you act in can be deleted.")


def workflow_id(tenant_id: str) -> str:
    """The Temporal workflow id of a tenant's deletion; there is one at most, for ids are not given again."""
    return f"{tenant_id}:deletion"
