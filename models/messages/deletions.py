"""Messages of the `TenantDeletion` workflow and its activities."""

from datetime import datetime

from models.messages.frame import Message


class DeletionRef(Message):
    """Names the deletion of a tenant; everything else about it is a row."""

    tenant_id: str


class DeletionPlan(Message):
    """What the workflow tells operators of what was asked for.

    Attributes:
        requested_by: Who asked.
        runs_until: Until when runs may go on; None cancels them at once.
    """

    requested_by: str
    runs_until: datetime | None = None


class EndedRuns(Message):
    """How many runs have ended since the deletion was asked for."""

    runs: int = 0


class ErasedRows(Message):
    """How far the erasing has come.

    Attributes:
        rows: Rows erased so far.
        log_kept_until: All but the audit log is gone, which stays until then; None when that is gone too.
    """

    rows: int = 0
    log_kept_until: datetime | None = None


class ForgottenHistories(Message):
    """What became of the workflow executions of the tenant."""

    deleted: int = 0
    left: int = 0
