"""The deletion of a tenant: its order, its phases and its report.

The report outlives the tenant, so that a deleted tenant id is never assigned again.
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
"""Remains that the product cannot erase, for the report."""


class Phase(StrEnum):
    """A completed phase of a deletion, in this order."""

    BEGUN = "begun"
    RUNS_ENDED = "runs_ended"
    DATA_ERASED = "data_erased"
    HISTORIES_DELETED = "histories_deleted"
    VERIFIED = "verified"


class DeletionStatus(StrEnum):
    """The status of a deletion."""

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
    """The order of a deletion.

    Attributes:
        tenant_id: The tenant that is deleted.
        requested_by: The user of the platform's tenant who requested it.
        requested_at: Time of the request, UTC.
        request_id: Id of the HTTP request.
        runs_until: Time until which open runs may continue, UTC; None cancels them at once.
    """

    tenant_id: str
    requested_by: str
    requested_at: datetime
    request_id: str | None = None
    runs_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CompletedPhase:
    """A completed phase with its facts."""

    phase: Phase
    at: datetime
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Deletion:
    """The report of a deletion and its progress.

    Attributes:
        order: The order.
        home_id: The tenant that the report belongs to: the platform's.
        log_kept_until: Time until which the audit log is kept, UTC: a deletion must not hide what was just done.
        erased: Rows erased, by table.
        passed: The completed phases.
        log_end: Anchor at the end of the audit log; None while the log is kept.
        erased_at: Time at which the last row was erased, UTC; None before.
    """

    order: DeletionOrder
    home_id: str
    log_kept_until: datetime
    erased: Mapping[str, int] = field(hash=False)
    passed: tuple[CompletedPhase, ...] = ()
    log_end: Anchor | None = None
    erased_at: datetime | None = None

    @property
    def status(self) -> DeletionStatus:
        """Returns the status, derived from the completed phases."""
        # Phases complete in order, so the last recorded one decides.
        return _DOING[next((phase for phase in reversed(Phase) if self.facts(phase) is not None), None)]

    @property
    def is_done(self) -> bool:
        """Returns whether the deletion is complete."""
        return self.status is DeletionStatus.DONE

    def facts(self, phase: Phase) -> Mapping[str, object] | None:
        """Returns the facts of a completed phase; None before its completion."""
        return next((one.facts for one in self.passed if one.phase is phase), None)


def drains_until(drain_seconds: int | None, now: datetime) -> datetime | None:
    """Returns the time until which open runs may continue; None when they are cancelled at once.

    Args:
        drain_seconds: Requested drain time, in seconds; None for none.
        now: The time, UTC.

    Raises:
        Invalid: `drain_invalid` when it is not from 1 second to 30 days.
    """
    if drain_seconds is None:
        return None
    most = int(LONGEST_DRAIN.total_seconds())
    if not 1 <= drain_seconds <= most:
        raise Invalid("drain_invalid", f"Runs are drained for 1 to {most} seconds.")
    return now + timedelta(seconds=drain_seconds)


def require_deletable(tenant_id: str, own_id: str, platform_id: str) -> None:
    """Requires that a tenant is neither the platform's nor the one of its deleter.

    Args:
        tenant_id: The tenant that is to be deleted.
        own_id: The tenant of the user who requests it.
        platform_id: The platform's tenant.

    Raises:
        Conflict: `not_your_own`.
    """
    if tenant_id in {own_id, platform_id}:
        raise Conflict("not_your_own", "Neither the platform's tenant nor the one that you act in can be deleted.")


def workflow_id(tenant_id: str) -> str:
    """Returns the Temporal workflow id of a tenant's deletion; tenant ids are never assigned again, so it is unique."""
    return f"{tenant_id}:deletion"
