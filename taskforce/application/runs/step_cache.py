"""Cache of the latest steps of runs, so that the process that stored them need not read them again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from taskforce.application.cache import BoundedCache
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs.transcript import Entry
from taskforce.core.interfaces.store import Store


@dataclass(frozen=True, slots=True)
class _Step:
    """The cached entries of a step; `words` is None where only the reply was read, without the messages before it."""

    reply: Entry
    words: tuple[Entry, ...] | None = None
    observations: dict[int, Entry] = field(default_factory=dict)

    def size(self) -> int:
        return sum(one.size() for one in (self.reply, *(self.words or ()), *self.observations.values()))


class Conversations:
    """Cache of the latest steps of runs; committed entries never change.

    Args:
        store: The tenants' data, for replies that are not cached.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._steps: BoundedCache[tuple[str, str, int], _Step] = BoundedCache()

    def opened(self, tenant_id: str, run_id: str, messages: Sequence[Entry], reply: Entry) -> None:
        """Caches a committed reply with all messages that the model received in its step."""
        self._keep(tenant_id, run_id, _Step(reply, tuple(messages)))

    def observed(self, tenant_id: str, run_id: str, observations: Sequence[Entry]) -> None:
        """Caches committed observations, if the reply of their step is cached."""
        for one in observations:
            step = self._steps.get((tenant_id, run_id, one.step))
            if step is not None:
                self._keep(tenant_id, run_id, _Step(step.reply, step.words, {**step.observations, one.call: one}))

    def whole(self, tenant_id: str, run_id: str, step: int) -> tuple[Entry, ...] | None:
        """Returns all entries of a finished step in order, and removes them; None where not all of them are cached.

        They are returned once: a run that reaches the same step again, because an operator has reset its workflow,
        must read the table, which may have later entries.
        """
        kept = self._steps.get((tenant_id, run_id, step))
        if kept is None or kept.words is None or len(kept.observations) < len(kept.reply.tool_calls):
            return None
        self._steps.take((tenant_id, run_id, step))
        return (*kept.words, kept.reply, *(one for _, one in sorted(kept.observations.items())))

    async def reply(self, tenant_id: str, run_id: str, step: int) -> Entry:
        """Returns the reply of a step.

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
