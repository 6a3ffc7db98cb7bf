"""What was said before a step of a run, as far as the model is shown it."""

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
    """What was said up to and with the step `through`.

    Attributes:
        earlier: Earlier exchanges of the session, oldest first.
        entries: The mission and the latest whole steps, in order.
        through: The last step that is in it.
    """

    earlier: tuple[Exchange, ...]
    entries: tuple[Entry, ...]
    through: int

    def size(self) -> int:
        """Characters, about."""
        return sum(one.size() for one in self.entries) + sum(len(e.mission) + len(e.answer) for e in self.earlier)

    def reply(self, step: int) -> Entry | None:
        """The reply of a step, from an attempt that died after it was stored."""
        return next((one for one in reversed(self.entries) if (one.step, one.call) == (step, 0)), None)

    def before(self, step: int) -> tuple[Entry, ...]:
        """The entries of earlier steps, which never change."""
        return tuple(entry for entry in self.entries if entry.step < step)


class ConversationWindows:
    """Reads what is new: entries of earlier steps never change, and a run keeps the exchanges it began with.

    Args:
        conversations: What was just said in this process.
    """

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._kept: BoundedCache[tuple[str, str], Window] = BoundedCache()

    async def read(self, records: Records, brief: RunSpec, step: int, attempt: int) -> Window:
        """What was said before a step, and in it by an attempt that died.

        Args:
            records: The tenant's records.
            brief: What the run is about.
            step: The step.
            attempt: The number of the attempt, from 1.
        """
        key = (brief.tenant_id, brief.run_id)
        past = self._kept.get(key)
        new = self._just_said(past, key, step, attempt)
        if past is None:
            past = Window(await records.runs.exchanges(brief, EXCHANGES_SHOWN), (), -1)
        if new is None:
            new = await records.transcripts.latest(brief.run_id, past.through + 1, ENTRIES_SHOWN)
        window = Window(past.earlier, _shown([*past.entries, *new]), step)
        kept = Window(past.earlier, window.before(step), step - 1)
        self._kept.keep(key, kept, kept.size())
        return window

    def _just_said(self, past: Window | None, run: tuple[str, str], step: int, attempt: int) -> Sequence[Entry] | None:
        """All of the step before, if this process has said it; a step that was begun before is read from the table."""
        if past is None or past.through != step - 2 or attempt > 1:
            return None
        return self._conversations.whole(*run, step - 1)


def _shown(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The mission, and the latest whole steps as far as they may be shown."""
    if len(entries) <= ENTRIES_SHOWN:
        return tuple(entries)
    first = entries[-ENTRIES_SHOWN].step
    return tuple(entry for entry in entries if entry.step == 0 or entry.step >= first)
