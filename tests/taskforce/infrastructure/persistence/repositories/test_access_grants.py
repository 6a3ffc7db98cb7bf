"""Who gave whom an account or a role."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from taskforce.core.domain.identity.access_grants import AccessGrant
from taskforce.core.domain.ids import new_id
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.infrastructure.persistence.factories import NASTY, NOW

DAY = timedelta(days=1)


async def test_gifts_come_back_of_the_people_who_are_meant(database: Database, tenant: str) -> None:
    await database.register_tenant(tenant, NOW)
    account = AccessGrant("bob", "ada", NOW, None, new_id())
    role = AccessGrant("cyd", "bob", NOW + DAY, "operator")
    async with database.tenant(tenant) as records:
        await records.access_grants.add((account, role, AccessGrant("dan", "ada", NOW)))
        assert set(await records.access_grants.of(["bob", "cyd"])) == {account, role}
        assert await records.access_grants.of([NASTY, "nobody"]) == []
        assert await records.access_grants.of([]) == []


async def test_what_is_given_again_and_again_is_one_gift_and_hides_no_older_one(
    database: Database, tenant: str
) -> None:
    await database.register_tenant(tenant, NOW)
    first = AccessGrant("svc", "ada", NOW)
    again = [AccessGrant("svc", "eve", NOW + days * DAY, "operator") for days in range(1, 51)]
    async with database.tenant(tenant) as records:
        await records.access_grants.add((first, *again))
        assert set(await records.access_grants.of(["svc"])) == {first, again[-1]}


async def test_another_tenants_gifts_are_not_there(database: Database, tenant: str) -> None:
    for one in (tenant, f"{tenant}-other"):
        await database.register_tenant(one, NOW)
    async with database.tenant(f"{tenant}-other") as records:
        await records.access_grants.add([AccessGrant("bob", "ada", NOW)])
    async with database.tenant(tenant) as records:
        assert await records.access_grants.of(["bob"]) == []


async def test_gifts_are_found_by_their_index(database: Database, tenant: str) -> None:
    await database.register_tenant(tenant, NOW)
    lines: list[str] = []
    async with database.tenant(tenant) as records:
        connection = records.access_grants._connection

        async def explained(query: Query, values: dict[str, object]) -> Sequence[Any]:
            found = await connection._driver.fetch(f"EXPLAIN {query.text}", *query.arguments(values))
            lines.extend(str(row[0]) for row in found)
            return []

        # Of few rows the planner would rather read all.
        await connection.value(sa.text("SELECT set_config('enable_seqscan', 'off', true)"))
        connection.all = explained  # type: ignore[method-assign,assignment]  # this transaction's own
        await records.access_grants.of(["bob"])
    assert "access_grants_of" in "\n".join(lines)
