"""Deletions of tenants in responses."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from taskforce.core.domain.tenants.deletion import REMAINS, Deletion, DeletionStatus, Phase

PREFIX = "/admin/tenants"


class PhaseOut(BaseModel):
    """A phase of the deletion that is finished."""

    phase: Phase
    at: datetime


class LogEndOut(BaseModel):
    """The end of the tenant's audit log.

    Attributes:
        kept_until: The time until which the log is kept.
        anchor: The anchor of its end, once it is erased: an export up to there can still be checked against it.
        seq: The number of its last event.
        hash: That event's hash.
    """

    kept_until: datetime
    anchor: str | None
    seq: int | None
    hash: str | None


class HistoriesOut(BaseModel):
    """Workflow executions in Temporal: those that were deleted, and those that the retention will end."""

    deleted: int
    left: int


class DeletionLinks(BaseModel):
    """Links to the deletion's report."""

    self: str


class DeletionOut(BaseModel):
    """The progress report of a tenant's deletion.

    Attributes:
        status: The phase in progress; in `keeping_log` everything but the audit log is erased.
        runs: The treatment of runs in progress: drained or cancelled.
        runs_until: The time until which drained runs may go on.
        runs_ended: The number of runs that ended since, by status; null until all have.
        requests_closed: The number of approval requests that were closed since, by status; null until all are.
        erased: Rows erased, by table.
        histories: The workflow histories in Temporal; null until they were deleted.
        erased_at: The time at which the last row was erased.
        remains: Data that is not erased, or that is kept elsewhere.
    """

    tenant_id: str
    status: DeletionStatus
    requested_by: str
    requested_at: datetime
    request_id: str | None
    runs: Literal["cancel", "drain"]
    runs_until: datetime | None
    phases: Sequence[PhaseOut]
    runs_ended: Mapping[str, int] | None
    requests_closed: Mapping[str, int] | None
    erased: Mapping[str, int]
    log: LogEndOut
    histories: HistoriesOut | None
    erased_at: datetime | None
    remains: Sequence[str]
    links: DeletionLinks


def deletion_path(tenant_id: str) -> str:
    """Returns the path of a deletion's report."""
    return f"/api/v1{PREFIX}/{tenant_id}/deletion"


def deletion_out(deletion: Deletion) -> DeletionOut:
    """Renders the report."""
    order, end = deletion.order, deletion.log_end
    ended = deletion.facts(Phase.RUNS_ENDED) or {}
    forgotten = deletion.facts(Phase.HISTORIES_DELETED)
    return DeletionOut.model_validate(
        {
            "tenant_id": order.tenant_id,
            "status": deletion.status,
            "requested_by": order.requested_by,
            "requested_at": order.requested_at,
            "request_id": order.request_id,
            "runs": "cancel" if order.runs_until is None else "drain",
            "runs_until": order.runs_until,
            "phases": [PhaseOut(phase=one.phase, at=one.at) for one in deletion.passed],
            "runs_ended": ended.get("runs"),
            "requests_closed": ended.get("requests"),
            "erased": deletion.erased,
            "log": LogEndOut(
                kept_until=deletion.log_kept_until,
                anchor=None if end is None else str(end),
                seq=None if end is None else end.seq,
                hash=None if end is None else end.hash,
            ),
            "histories": forgotten,
            "erased_at": deletion.erased_at,
            "remains": REMAINS,
            "links": DeletionLinks(self=deletion_path(order.tenant_id)),
        }
    )
