"""Rollups of all tenants: in turns, whatever one of them has, and each record once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.reporting import rollup
from taskforce.application.reporting.rollup import RollupProgress, UsageRollup
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.metering.periods import Period
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.due_rows import DueKind
from taskforce.infrastructure.llm.price_map import BundledPrices
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.isolated_sweeps import Alone
from tests.fixtures.usage import total, used
from tests.taskforce.infrastructure.persistence.factories import queued, settled

START = datetime(2026, 11, 1, tzinfo=UTC)
PRICES = PriceBooks(BundledPrices(), lambda: START)
DAY = Period(START, START + timedelta(days=1))
_WHOLE_SINCE = sa.text("UPDATE tenants SET usage_whole_since = :since").bindparams(
    sa.bindparam("since", type_=sa.DateTime(timezone=True))
)


class Among(Alone):
    """A door through which some tenants are seen, a few to a page."""

    def __init__(self, database: Database, *tenants: str, page: int = 2) -> None:
        super().__init__(database, tenants[0])
        self._tenants = sorted(tenants)
        self._page = page

    async def due_tenants(self, kind: DueKind, before: datetime, after: str, most: int) -> Sequence[tuple[str, bool]]:
        del most
        due = await self.due_among(kind, before, self._tenants)
        return [(one, True) for one in due if one > after][: self._page]

    async def tenants(self, after: str | None, most: int) -> Sequence[Tenant]:
        del most
        return [Tenant(one, one, START, START) for one in self._tenants if one > (after or "")][: self._page]


@pytest.fixture
async def crowd(database: Database, tenant: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first has very much, the others a little."""
    monkeypatch.setattr(rollup, "BATCH", 3)
    names = [f"{tenant}-{number}" for number in range(5)]
    for name in names:
        await settled(database, name)
        for number in range(20 if name == names[0] else 2):
            await used(database, name, START + timedelta(minutes=number))
    return names


async def test_all_are_rolled_up_and_whoever_has_very_much_keeps_nobody_waiting(
    database: Database, crowd: list[str]
) -> None:
    door, told = Among(database, *crowd), list[RollupProgress]()
    use_case = UsageRollup(door, lambda: START, PRICES)
    progress = await use_case.roll_up(RollupProgress(), told.append)
    assert (progress.records, progress.failed) == (28, frozenset())
    # The others had theirs when the first one's second share began.
    assert [one.records for one in told].index(3 + 4 * 2) == 4
    assert await use_case.roll_up(RollupProgress(), told.append) == RollupProgress()


async def test_an_attempt_that_dies_is_continued_and_its_counts_are_kept(database: Database, crowd: list[str]) -> None:
    door, told = Among(database, *crowd), list[RollupProgress]()

    def dies(progress: RollupProgress) -> None:
        told.append(progress)
        if progress.records >= 11:
            raise RuntimeError("died")

    with pytest.raises(ExceptionGroup):
        await UsageRollup(door, lambda: START, PRICES).roll_up(RollupProgress(), dies)
    progress = await UsageRollup(door, lambda: START, PRICES).roll_up(told[-1], told.append)
    assert progress.records == 28
    assert [(await total(database, one, DAY)).records for one in crowd] == [20, 2, 2, 2, 2]


async def test_an_error_of_one_tenant_does_not_keep_the_others(database: Database, crowd: list[str]) -> None:
    class Broken(Among):
        def tenant(self, tenant_id: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
            if tenant_id == crowd[1]:
                raise RuntimeError("broken")
            return super().tenant(tenant_id)

    progress = await UsageRollup(Broken(database, *crowd), lambda: START, PRICES).roll_up(
        RollupProgress(), lambda _: None
    )
    assert (progress.records, progress.failed) == (26, frozenset({crowd[1]}))


async def _days_since(database: Database, tenant_id: str) -> str | None:
    async with database.tenant(tenant_id) as records:
        query = sa.text("SELECT usage_days_since::text FROM tenants")
        found: str | None = await records.users._connection.value(query)
        return found


async def test_a_rollup_ends_when_all_days_of_whoever_uses_something_are_made(database: Database, tenant: str) -> None:
    names = [f"{tenant}-{number}" for number in range(2)]
    for name in names:
        await settled(database, name)
        for number in range(5):
            await used(database, name, START + timedelta(days=number))
            async with database.tenant(name) as records:
                await records.usage_buckets.roll_up(1)
    await used(database, names[0], START)
    assert [await _days_since(database, name) for name in names] == [None, None]
    use_case = UsageRollup(Among(database, *names), lambda: START, PRICES)
    await use_case.roll_up(RollupProgress(), lambda _: None)
    assert [await _days_since(database, name) for name in names] == ["-infinity", None]
    # Whoever uses nothing gets one day each time.
    for _ in range(2):
        await use_case.measure_storage(RollupProgress(), lambda _: None)
    assert [await _days_since(database, name) for name in names] == ["-infinity", "2026-11-05"]


async def test_storage_is_measured_once_a_day_for_each(database: Database, tenant: str) -> None:
    names = [f"{tenant}-{number}" for number in range(3)]
    for name in names:
        run = await queued(database, name)
        async with database.tenant(name) as records:
            await records.results.add(run.run_id, 1, 1, "x" * 1_000)
    use_case = UsageRollup(Among(database, *names), lambda: START, PRICES)
    told = list[RollupProgress]()
    assert (await use_case.measure_storage(RollupProgress(), told.append)).measured == 3
    assert [one.after for one in told] == [names[1], names[2]]
    assert (await use_case.measure_storage(RollupProgress(), told.append)).measured == 0
    later = UsageRollup(Among(database, *names), lambda: START + timedelta(days=1), PRICES)
    # Two were measured by the attempt before; of the others there is one.
    assert (await later.measure_storage(told[0], told.append)).measured == 2 + 1


async def test_a_rebuild_that_would_lose_what_retention_has_erased_is_refused(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    await used(database, tenant, START)
    use_case = UsageRollup(Among(database, tenant), lambda: START, PRICES)
    await use_case.roll_up(RollupProgress(), lambda _: None)
    assert await use_case.rebuild(tenant, DAY) == 1
    async with database.tenant(tenant) as records:
        await records.users._connection.change(_WHOLE_SINCE, {"since": START + timedelta(hours=1)})
    with pytest.raises(Conflict) as refused:
        await use_case.rebuild(tenant, DAY)
    assert refused.value.code == "usage_erased"
    assert (await total(database, tenant, DAY)).records == 1
    with pytest.raises(Invalid):
        await use_case.rebuild(tenant, Period(START, START + timedelta(days=500)))
