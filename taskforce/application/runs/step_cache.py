"""What was just said in the runs that this process works on, kept so as not to be read again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from taskforce.application.cache import BoundedCache
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs.transcript import Entry
from taskforce.core.interfaces.store import Store


@dataclass(frozen=True, slots=True)
class _Step:
    """What is known of a step: with its opening, the reply and the words before it, are all of those."""

    reply: Entry
    words: tuple[Entry, ...] | None = None
    observations: dict[int, Entry] = field(default_factory=dict)

    def size(self) -> int:
        return sum(one.size() for one in (self.reply, *(self.words or ()), *self.observations.values()))


class Conversations:
    """The latest steps of runs; an entry that is committed never changes, so it may be kept.

    Args:
        store: Where the replies come from that are not kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._steps: BoundedCache[tuple[str, str, int], _Step] = BoundedCache()

    def opened(self, tenant_id: str, run_id: str, words: Sequence[Entry], reply: Entry) -> None:
        """Keeps a committed reply with all the words that the model heard before it."""
        self._keep(tenant_id, run_id, _Step(reply, tuple(words)))

    def observed(self, tenant_id: str, run_id: str, observations: Sequence[Entry]) -> None:
        """Keeps committed observations; those of a step whose reply is not kept are of no use."""
        for one in observations:
            step = self._steps.get((tenant_id, run_id, one.step))
            if step is not None:
                self._keep(tenant_id, run_id, _Step(step.reply, step.words, {**step.observations, one.call: one}))

    def whole(self, tenant_id: str, run_id: str, step: int) -> tuple[Entry, ...] | None:
        """All entries of a step that is over, in their order; None when not all of them are kept.

        They are handed out once: who comes to the same step again, as a run that is reset does, looks at the table,
        which may know what follows.
        """
        kept = self._steps.get((tenant_id, run_id, step))
        if kept is None or kept.words is None or len(kept.observations) < len(kept.reply.tool_calls):
            return None
        self._steps.take((tenant_id, run_id, step))
        return (*kept.words, kept.reply, *(one for _, one in sorted(kept.observations.items())))

    async def reply(self, tenant_id: str, run_id: str, step: int) -> Entry:
        """The reply of a step.

        Raises:
            Missing: `step_not_found`.
        """
        kept = self._steps.get((tenant_id, run_id, step))
        if kept is not None:
            return kept.reply
        async with self._store.reading(tenant_id) as records:
            reply = await records.transcripts.entry(run_id, step, 0)
        if reply is None:
            raise missing("step")
        self._keep(tenant_id, run_id, _Step(reply))
        return reply

    def _keep(self, tenant_id: str, run_id: str, step: _Step) -> None:
        self._steps.keep((tenant_id, run_id, step.reply.step), step, step.size())
