"""Messages of the `UsageRollup` workflow and its activities."""

from datetime import datetime

from models.messages.frame import Message


class Rebuild(Message):
    """A period whose buckets are to be made anew of the usage records.

    Attributes:
        tenant_id: The tenant.
        start: Beginning, a multiple of 15 minutes.
        end: End, left out, a multiple of 15 minutes.
    """

    tenant_id: str
    start: datetime
    end: datetime


class RollupOrder(Message):
    """Order of a rollup.

    Attributes:
        rebuild: A period to rebuild, and nothing else; None for the rollup of all tenants.
    """

    rebuild: Rebuild | None = None


class RolledUp(Message):
    """Progress of a rollup, or its result.

    Attributes:
        records: Usage records that were added to buckets.
        batches: Statements that did so.
        failed: Number of tenants whose records could not be added; the log names them.
    """

    records: int = 0
    batches: int = 0
    failed: int = 0


class MeasuredStorage(Message):
    """Number of tenants whose storage was measured so far.

    Attributes:
        tenants: Tenants whose storage was measured now; of the others it was before, on the same day.
        after: The last tenant that was looked at.
    """

    tenants: int = 0
    after: str = ""


class Rebuilt(Message):
    """The number of usage records in the buckets that were made anew."""

    records: int = 0


class RollupResult(Message):
    """Result of a rollup, for operators.

    Attributes:
        status: `done`.
        records: Usage records that were added to buckets.
        batches: Statements that did so.
        failed: Number of tenants whose records could not be added; the log of the workers names them.
        storage: Tenants whose storage was measured.
        rebuilt: Usage records in buckets that were made anew, where that was asked for.
    """

    status: str = "done"
    records: int = 0
    batches: int = 0
    failed: int = 0
    storage: int = 0
    rebuilt: int | None = None
