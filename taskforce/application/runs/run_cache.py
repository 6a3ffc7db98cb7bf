"""Cache of run specifications."""

from taskforce.application.cache import BoundedCache
from taskforce.core.domain.ids import missing
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.interfaces.store import Records, Store


class RunCache:
    """Cache of the specifications of runs; they never change, except for the limits, which `reread` reads again.

    Args:
        store: The tenants' data.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: BoundedCache[tuple[str, str], RunSpec] = BoundedCache()

    async def get(self, tenant_id: str, run_id: str) -> RunSpec:
        """Returns the specification of a run.

        Raises:
            Missing: `run_not_found`.
        """
        kept = self._kept.get((tenant_id, run_id))
        if kept is None:
            async with self._store.reading(tenant_id) as records:
                kept = await self.read(records, tenant_id, run_id)
        return kept

    async def read(self, records: Records, tenant_id: str, run_id: str) -> RunSpec:
        """Returns the specification of a run, read in the caller's transaction if it is not cached.

        Raises:
            Missing: `run_not_found`.
        """
        return self._kept.get((tenant_id, run_id)) or await self.reread(records, tenant_id, run_id)

    async def reread(self, records: Records, tenant_id: str, run_id: str) -> RunSpec:
        """Reads the specification of a run with its current limits, past the cache.

        Raises:
            Missing: `run_not_found`.
        """
        spec = await records.runs.spec(run_id)
        if spec is None:
            raise missing("run")
        self._kept.keep((tenant_id, run_id), spec, spec.size())
        return spec
