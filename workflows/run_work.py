"""The work of a run: the time that its model calls and tools take, and nothing else."""

from datetime import datetime, timedelta

from temporalio import workflow

from workflows.run_waits import RunWaits

WORK_COUNTED = "work-is-counted"
"""2026-12: what activities say they have worked counts; before, all time but waits for people did, also time in which
no worker lived and pauses between retries."""


class RunWork:
    """Counts the work of a run; of tool calls that run side by side each moment counts once.

    Args:
        before: Seconds of work of the parts before.
        waits: The run's waits, which older histories take off the time.
    """

    def __init__(self, before: float, waits: RunWaits) -> None:
        self._before = timedelta(seconds=before)
        self._waits = waits
        self._settled = timedelta()
        self._spans: list[tuple[datetime, datetime]] = []

    @property
    def counted(self) -> timedelta:
        """Returns the work that activities have told of."""
        return self._before + self._settled + sum((end - begin for begin, end in self._spans), timedelta())

    def add(self, seconds: float | None, since: datetime) -> None:
        """Adds what an activity has worked that has just ended.

        Args:
            seconds: Seconds of work as its result or failure tells; None where it tells nothing, as workers before
                2026-12 did: then all of its time counts.
            since: The time when it was scheduled: it has not worked before.
        """
        end = workflow.now()
        begin = since if seconds is None else max(since, end - timedelta(seconds=seconds))
        # None ends later than this one, so those that it overlaps form one span with it.
        overlapping = [one for one in self._spans if one[1] > begin]
        self._spans = [one for one in self._spans if one[1] <= begin]
        self._spans.append((min([begin, *(one[0] for one in overlapping)]), end))

    def settle(self) -> None:
        """Settles the work of a step: nothing that is added later was at work during it."""
        self._settled, self._spans = self.counted - self._before, []

    def seconds(self, limit: int) -> float:
        """Returns the seconds of work that are held against a limit."""
        elapsed = self._elapsed()
        # The work is never more than the time, in which a tool may work while people are waited for: below the limit
        # nobody needs to know which of them counts, and no history grows by the patch.
        whole = elapsed + self._waits.held().total_seconds()
        return elapsed if whole < limit or not self.is_counted() else self.counted.total_seconds()

    def carried(self) -> float:
        """Returns the seconds of work that the next part of the run begins with."""
        return self.counted.total_seconds() if self.is_counted() else self._elapsed()

    def left(self, limit: int) -> timedelta:
        """Returns the work that is left, for timeouts: at least a second."""
        return max(timedelta(seconds=limit) - self.counted, timedelta(seconds=1))

    def time_left(self, limit: int) -> timedelta:
        """Returns the time that is left where the work is not counted: at least a second."""
        return timedelta(seconds=max(limit - self._elapsed(), 1))

    def is_counted(self) -> bool:
        """Tells whether the work counts, and not the time, as in older histories."""
        return workflow.patched(WORK_COUNTED)

    def _elapsed(self) -> float:
        return (self._before + workflow.now() - workflow.info().start_time - self._waits.held()).total_seconds()
