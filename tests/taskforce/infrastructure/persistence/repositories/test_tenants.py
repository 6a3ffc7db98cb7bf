"""The tenant's own row."""

from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.infrastructure.persistence.factories import settled


async def test_a_revision_of_metering_is_new_each_time_and_a_later_save_keeps_it(
    database: Database, tenant: str
) -> None:
    other = f"{tenant}-b"
    for one in (tenant, other):
        await settled(database, one)
    async with database.tenant(tenant) as records:
        before = await records.tenant.locked()
        assert before is not None
        for _ in range(2):
            await records.tenant.revise_metering()
        await records.tenant.save(before)
        after = await records.tenant.get()
    async with database.tenant(other) as records:
        theirs = await records.tenant.get()
    assert after is not None
    assert theirs is not None
    assert (before.metering_revision, after.metering_revision, theirs.metering_revision) == (0, 2, 0)
