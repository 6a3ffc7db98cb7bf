"""Activities of the `UsageRollup` workflow."""

from datetime import UTC, datetime
from typing import TypeVar

from temporalio import activity

from activities.work import report_progress
from models.messages.frame import Message
from models.messages.metering import MeasuredStorage, Rebuild, Rebuilt, RolledUp, RollupOrder
from taskforce.application.reporting.rollup import RollupProgress, UsageRollup
from taskforce.core.domain.metering.periods import Period

Told = TypeVar("Told", bound=Message)


class MeteringActivities:
    """The activities of a rollup; idempotent. One that is retried goes on where its last heartbeat was.

    Args:
        rollup: The use case.
    """

    def __init__(self, rollup: UsageRollup) -> None:
        self._rollup = rollup

    @activity.defn(name="roll_up_usage")
    async def roll_up_usage(self, order: RollupOrder) -> RolledUp:
        """Adds all usage records that are in no bucket to their buckets."""
        del order
        before = _told(RolledUp)
        progress = RollupProgress(records=before.records, batches=before.batches)
        return _rolled_up(await self._rollup.roll_up(progress, lambda now: report_progress(_rolled_up(now))))

    @activity.defn(name="measure_storage")
    async def measure_storage(self, order: RollupOrder) -> MeasuredStorage:
        """Measures the storage of the tenants of whom it was not done today."""
        del order
        before = _told(MeasuredStorage)
        progress = RollupProgress(measured=before.tenants, after=before.after)
        return _measured(await self._rollup.measure_storage(progress, lambda now: report_progress(_measured(now))))

    @activity.defn(name="rebuild_usage")
    async def rebuild_usage(self, order: Rebuild) -> Rebuilt:
        """Makes the buckets of a period anew."""
        period = Period(_utc(order.start), _utc(order.end))
        return Rebuilt(records=await self._rollup.rebuild(order.tenant_id, period))


def _utc(moment: datetime) -> datetime:
    # An operator may have left the zone out.
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _told(kind: type[Told]) -> Told:
    """Returns what an earlier attempt of the running activity has told by its last heartbeat."""
    told = next((one for one in activity.info().heartbeat_details if isinstance(one, dict)), {})
    return kind.model_validate(told)


def _rolled_up(progress: RollupProgress) -> RolledUp:
    return RolledUp(records=progress.records, batches=progress.batches, failed=len(progress.failed))


def _measured(progress: RollupProgress) -> MeasuredStorage:
    return MeasuredStorage(tenants=progress.measured, after=progress.after)
