"""Asking for a deletion, and the last look that closes its report."""

from datetime import timedelta

import asyncpg
import pytest

from taskforce.application.identity.principals import Actor, load_principal, resolve_principal
from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.runs.lifecycle import RunLifecycle
from taskforce.application.runs.run_cache import RunCache
from taskforce.application.tenants.deletion import TenantErasure
from taskforce.application.tenants.deletion_requests import (
    DeletionSpec,
    find_deletion,
    request_deletion,
    start_late_deletions,
)
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Unavailable
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.tenants.deletion import DeletionOrder, Phase
from taskforce.core.interfaces.identity import Identity
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.llm.price_map import BundledPrices
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.notifications import Publisher
from tests.fixtures import stack as stacks
from tests.fixtures.usage import rolled_up, used
from tests.taskforce.application.scenario import NOW
from workflows.client.client import WorkflowClient

SECOND = timedelta(seconds=1)


async def operator(database: Database, home: str) -> Actor:
    """Somebody who runs a platform whose tenant is this one."""
    await database.register_tenant(home, NOW)
    rules = AccessRules(platform_tenant=home)
    async with database.tenant(home) as records:
        await records.users.save(UserRecord(home, "pia", "Pia", granted_roles=frozenset({"admin"})), NOW)
        return Actor(await load_principal(records, "pia", rules, NOW), rules, "req-1", NOW)


async def test_a_tenant_that_was_the_platforms_once_keeps_its_reports(database: Database, tenant: str) -> None:
    home, former, gone = f"{tenant}-home", f"{tenant}-former", f"{tenant}-gone"
    for name in (former, gone):
        await database.register_tenant(name, NOW)
    asked = await request_deletion(database, database, await operator(database, former), DeletionSpec(gone))
    actor = await operator(database, home)
    with pytest.raises(Conflict) as refused:
        await request_deletion(database, database, actor, DeletionSpec(former))
    assert refused.value.code == "tenant_keeps_reports"
    # Whoever runs the platform now finds the report that another tenant keeps.
    assert await find_deletion(database, actor, gone) == asked
    assert asked.home_id == former


async def test_late_ones_are_started_and_those_that_have_begun_are_not(database: Database, tenant: str) -> None:
    actor = await operator(database, f"{tenant}-home")
    for name in ("late", "begun"):
        await database.register_tenant(f"{tenant}-{name}", NOW)
        await request_deletion(database, database, actor, DeletionSpec(f"{tenant}-{name}", 60))
    async with database.tenant(f"{tenant}-home") as records:
        await records.deletions.passed(f"{tenant}-begun", Phase.BEGUN, {}, NOW)
    started: list[str] = []

    async def start(tenant_id: str) -> None:
        started.append(tenant_id)

    await start_late_deletions(database, NOW, start)
    assert not any(one.startswith(tenant) for one in started)
    await start_late_deletions(database, NOW + SECOND, start)
    assert [one for one in started if one.startswith(tenant)] == [f"{tenant}-late"]
    started.clear()
    await start_late_deletions(database, NOW + SECOND, start, begun=True)
    assert [one for one in started if one.startswith(tenant)] == [f"{tenant}-begun", f"{tenant}-late"]


@pytest.mark.parametrize(("at_first_sight", "code"), [(True, "tenant_deleted"), (False, "tenant_unknown")])
async def test_a_token_does_not_bring_a_deleted_tenant_back(
    database: Database, tenant: str, at_first_sight: bool, code: str
) -> None:
    home, gone = f"{tenant}-home", f"{tenant}-gone"
    await database.register_tenant(gone, NOW)
    await request_deletion(database, database, await operator(database, home), DeletionSpec(gone))
    await erase(database, home, gone)
    claimed = Identity("ada", gone, "Ada", None, frozenset({"admin"}), "tests", NOW, NOW + SECOND)
    rules = AccessRules(platform_tenant=home, tenants_at_first_sight=at_first_sight)
    with pytest.raises(Forbidden) as refused:
        await resolve_principal(database, database, claimed, rules, NOW)
    assert refused.value.code == code
    async with database.tenant(gone) as records:
        assert await records.tenant.get() is None


async def erase(database: Database, home: str, gone: str) -> None:
    async with database.tenant(home) as records:
        while await records.deletions.erase(gone, 100):
            continue


async def test_what_somebody_was_still_writing_is_found_and_erased_before_the_report_is_closed(
    database: Database, postgres: stacks.DatabaseUrls, workflow_client: WorkflowClient, tenant: str
) -> None:
    home, gone = f"{tenant}-home", f"{tenant}-gone"
    for name in (home, gone):
        await database.register_tenant(name, NOW)
    async with database.tenant(home) as records:
        await records.deletions.begin(DeletionOrder(gone, "pia", NOW))
    await erase(database, home, gone)
    await straggle(postgres, gone)
    async with Publisher(postgres.app) as live:
        running = RunLifecycle(
            database, RunCache(database), live, lambda: NOW, prices=PriceBooks(BundledPrices(), lambda: NOW)
        )
        erasure = TenantErasure(
            database,
            database,
            runs=workflow_client.runs,
            histories=workflow_client.tenants,
            lifecycle=running,
            clock=lambda: NOW,
        )
        with pytest.raises(Unavailable, match="rate_buckets") as early:
            await erasure.verify(gone)
        assert early.value.code == "rows_left"
        await erasure.verify(gone)
        with pytest.raises(DomainError) as unknown:
            await erasure.begin(f"{tenant}-nobody")
        assert unknown.value.code == "deletion_not_found"
    report = await database.deletion(gone)
    assert report is not None
    assert (report.erased["rate_buckets"], report.facts(Phase.VERIFIED)) == (1, {})


async def straggle(postgres: stacks.DatabaseUrls, gone: str) -> None:
    """A row where no key to another table would keep it out."""
    admin = await asyncpg.connect(**driver_arguments(postgres.admin))
    async with admin.transaction():
        await admin.execute("SET LOCAL session_replication_role = replica")
        await admin.execute("INSERT INTO rate_buckets VALUES ($1, 'late', 1, $2, true)", gone, NOW)
    await admin.close()


async def test_sums_of_usage_go_with_their_tenant(
    database: Database, postgres: stacks.DatabaseUrls, tenant: str
) -> None:
    home, gone = f"{tenant}-home", f"{tenant}-gone"
    for name in (home, gone):
        await database.register_tenant(name, NOW)
        await used(database, name, NOW)
        assert await rolled_up(database, name) == 1
    async with database.tenant(home) as records:
        await records.deletions.begin(DeletionOrder(gone, "pia", NOW))
    await erase(database, home, gone)
    admin = await asyncpg.connect(**driver_arguments(postgres.admin))
    for table in ("usage_records", "usage_buckets", "usage_days"):
        counts = f"SELECT tenant_id, count(*) FROM {table} WHERE tenant_id = ANY ($1) GROUP BY 1"
        assert [tuple(row) for row in await admin.fetch(counts, [home, gone])] == [(home, 1)]
    await admin.close()
