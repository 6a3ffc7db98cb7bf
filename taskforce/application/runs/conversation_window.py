"""The window of a run's conversation that the model is sent in a step."""

from collections.abc import Sequence
from dataclasses import dataclass

from taskforce.application.cache import BoundedCache
from taskforce.application.runs.step_cache import Conversations
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.runs.transcript import Entry, Exchange
from taskforce.core.interfaces.store import Records

ENTRIES_SHOWN = 600
EXCHANGES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Window:
    """The entries of a conversation up to and including the step `through`.

    Attributes:
        earlier: Earlier exchanges of the session, oldest first.
        entries: The mission and the latest whole steps, in order.
        through: The last step that is in it.
    """

    earlier: tuple[Exchange, ...]
    entries: tuple[Entry, ...]
    through: int

    def size(self) -> int:
        """Returns the approximate size in characters."""
        return sum(one.size() for one in self.entries) + sum(len(e.mission) + len(e.answer) for e in self.earlier)

    def reply(self, step: int) -> Entry | None:
        """Returns the stored reply of a step, left by an attempt that died afterwards; None where there is none."""
        return next((one for one in reversed(self.entries) if (one.step, one.call) == (step, 0)), None)

    def before(self, step: int) -> tuple[Entry, ...]:
        """Returns the entries of earlier steps, which never change."""
        return tuple(entry for entry in self.entries if entry.step < step)


class ConversationWindows:
    """Cache of windows; reads only new entries, for those of earlier steps and the earlier exchanges never change.

    Args:
        conversations: The steps that this process has just stored.
    """

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._kept: BoundedCache[tuple[str, str], Window] = BoundedCache()

    async def read(self, records: Records, spec: RunSpec, step: int, attempt: int) -> Window:
        """Reads the window of a step, with the entries that a dead attempt of this step has stored.

        Args:
            records: The tenant's records.
            spec: The run's specification.
            step: The step, from 1.
            attempt: The number of the attempt, from 1.
        """
        key = (spec.tenant_id, spec.run_id)
        past = self._kept.get(key)
        new = self._just_said(past, key, step, attempt)
        if past is None:
            past = Window(await records.runs.exchanges(spec, EXCHANGES_SHOWN), (), -1)
        if new is None:
            new = await records.transcripts.latest(spec.run_id, past.through + 1, ENTRIES_SHOWN)
        window = Window(past.earlier, _shown([*past.entries, *new]), step)
        # Without the step itself: its entries may still grow when an attempt dies.
        kept = Window(past.earlier, window.before(step), step - 1)
        self._kept.keep(key, kept, kept.size())
        return window

    def _just_said(self, past: Window | None, run: tuple[str, str], step: int, attempt: int) -> Sequence[Entry] | None:
        """Returns the whole previous step if this process stored it; None, to read the table, also for a retry."""
        if past is None or past.through != step - 2 or attempt > 1:
            return None
        return self._conversations.whole(*run, step - 1)


def _shown(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Returns the mission and the latest whole steps, at most `ENTRIES_SHOWN` entries of the latter."""
    if len(entries) <= ENTRIES_SHOWN:
        return tuple(entries)
    # Whole steps: providers refuse a conversation with a tool call without its result, or the other way round.
    first = entries[-ENTRIES_SHOWN].step
    return tuple(entry for entry in entries if entry.step == 0 or entry.step >= first)
