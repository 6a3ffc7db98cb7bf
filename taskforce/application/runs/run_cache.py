"""A cache of what does not change while a run lasts."""

from taskforce.application.cache import BoundedCache
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.interfaces.store import Records, Store


class RunCache:
    """The briefs of the runs that this process works on, kept, for they do not change but for the limits.

    Args:
        store: Where they come from.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: BoundedCache[tuple[str, str], RunSpec] = BoundedCache()

    async def get(self, tenant_id: str, run_id: str) -> RunSpec:
        """The brief of a run.

        Raises:
            Missing: `run_not_found`.
        """
        kept = self._kept.get((tenant_id, run_id))
        if kept is None:
            async with self._store.reading(tenant_id) as records:
                kept = await self.read(records, tenant_id, run_id)
        return kept

    async def read(self, records: Records, tenant_id: str, run_id: str) -> RunSpec:
        """The brief of a run, within a transaction that is open already."""
        return self._kept.get((tenant_id, run_id)) or await self.reread(records, tenant_id, run_id)

    async def reread(self, records: Records, tenant_id: str, run_id: str) -> RunSpec:
        """The brief of a run with the limits that it has now.

        Raises:
            Missing: `run_not_found`.
        """
        brief = await records.runs.brief(run_id)
        if brief is None:
            raise missing("run")
        self._kept.keep((tenant_id, run_id), brief, brief.size())
        return brief
