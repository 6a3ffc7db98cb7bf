"""Messages of the `TenantDeletion` workflow and its activities."""

from datetime import datetime

from models.messages.frame import Message


class DeletionRef(Message):
    """A reference to the deletion of a tenant; its data is rows."""

    tenant_id: str


class DeletionPlan(Message):
    """The order of a deletion, for the workflow's details.

    Attributes:
        requested_by: The user who requested it.
        runs_until: Time until which runs may continue, UTC; None cancels them at once.
    """

    requested_by: str
    runs_until: datetime | None = None


class EndedRuns(Message):
    """The number of runs that have ended since the deletion was requested."""

    runs: int = 0


class ErasedRows(Message):
    """The progress of the erasure.

    Attributes:
        rows: Rows erased so far.
        log_kept_until: Time until which the audit log is kept, all else being erased, UTC; None when it is erased too.
    """

    rows: int = 0
    log_kept_until: datetime | None = None


class ForgottenHistories(Message):
    """Counts of the tenant's workflow executions after their deletion."""

    deleted: int = 0
    left: int = 0
