"""What PostgreSQL's errors mean, by the class of their SQLSTATE."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest
import sqlalchemy as sa
from temporalio.exceptions import ApplicationError

from activities.errors import to_failure
from taskforce.core.domain.errors import Conflict, DomainError, Invalid, Unavailable
from taskforce.core.interfaces.repositories.idempotency import DuplicateKey
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.sqlstates import DuplicateKeyError, StatementError, translated
from tests.fixtures.stack import DatabaseUrls


@pytest.mark.parametrize(
    ("states", "kind", "code"),
    [
        (("22000", "22003", "22021", "22P02", "54000", "54001"), Invalid, "data_invalid"),
        (("23502", "23503", "23514"), Conflict, "data_conflict"),
        (("40001", "40P01", "55P03"), Unavailable, "database_busy"),
        (("08006", "28P01", "3D000", "53100", "53300", "57014", "57P01", "58030"), Unavailable, "database_unavailable"),
    ],
)
def test_each_class_has_one_meaning(states: tuple[str, ...], kind: type[DomainError], code: str) -> None:
    for state in states:
        meant = translated(asyncpg.PostgresError.new({"C": state, "M": "hunter2", "S": "ERROR", "V": "ERROR"}))
        assert isinstance(meant, kind), state
        assert isinstance(meant, DomainError)
        assert meant.code == code
        assert "hunter2" not in meant.message


@pytest.mark.parametrize("state", ["42P01", "42501", "25P02", "P0001", "XX000", "0A000"])
def test_what_is_left_is_a_defect(state: str) -> None:
    meant = translated(asyncpg.PostgresError.new({"C": state, "M": "text", "S": "ERROR", "V": "ERROR"}))
    assert isinstance(meant, StatementError)
    assert not isinstance(meant, DomainError)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("SELECT CAST(:value AS uuid)", {"value": "no id"}),
        ("SELECT CAST(:value AS uuid)", {"value": "\x00"}),
        ("SELECT CAST(:value AS text)", {"value": "a\x00b"}),
        ("SELECT CAST(:value AS text)", {"value": "\ud800"}),
        ("SELECT CAST(:value AS integer)", {"value": 2**80}),
        ("SELECT CAST(:value AS jsonb)", {"value": {"a": "\x00"}}),
        ("SELECT 1 / CAST(:value AS integer)", {"value": 0}),
    ],
)
async def test_bad_data_is_a_refusal_and_no_outage(
    database: Database, statement: str, values: dict[str, object]
) -> None:
    with pytest.raises(Invalid) as refused:
        async with database.tenant("acme") as records:
            await records.users._connection.value(sa.text(statement), values)
    assert refused.value.code == "data_invalid"
    assert to_failure(refused.value).non_retryable


async def test_an_activity_that_lost_against_another_attempt_is_tried_again(database: Database, tenant: str) -> None:
    taken = sa.text("INSERT INTO tenants SELECT * FROM tenants WHERE tenant_id = :tenant")
    await database.register_tenant(tenant, datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(DuplicateKey) as refused:
        async with database.tenant(tenant) as records:
            await records.users._connection.change(taken, {"tenant": tenant})
    assert isinstance(refused.value, DuplicateKeyError)
    failure = to_failure(refused.value)
    assert isinstance(failure, ApplicationError)
    assert (failure.type, failure.non_retryable) == ("data_conflict", False)


async def test_a_deadlock_may_pass(postgres: DatabaseUrls) -> None:
    first, second = [await asyncpg.connect(**driver_arguments(postgres.owner)) for _ in range(2)]
    try:
        await first.execute("BEGIN; LOCK TABLE approvals IN ACCESS EXCLUSIVE MODE")
        await second.execute("BEGIN; LOCK TABLE approval_decisions IN ACCESS EXCLUSIVE MODE")
        ends = await asyncio.gather(
            first.execute("LOCK TABLE approval_decisions IN ACCESS EXCLUSIVE MODE"),
            second.execute("LOCK TABLE approvals IN ACCESS EXCLUSIVE MODE"),
            return_exceptions=True,
        )
    finally:
        await first.close()
        await second.close()
    [lost] = [one for one in ends if isinstance(one, asyncpg.PostgresError)]
    meant = translated(lost)
    assert isinstance(meant, Unavailable)
    assert not to_failure(meant).non_retryable


@pytest.mark.parametrize("statements", ["EXECUTE gone", "PREPARE twice AS SELECT 1; PREPARE twice AS SELECT 1"])
async def test_statements_that_a_pooler_mixes_up_are_told_with_what_helps(
    postgres: DatabaseUrls, statements: str
) -> None:
    connection = await asyncpg.connect(**driver_arguments(postgres.app))
    with pytest.raises(asyncpg.PostgresError) as refused:
        await connection.execute(statements)
    await connection.close()
    told = translated(refused.value)
    assert isinstance(told, Unavailable)
    assert told.code == "statements_lost"
    assert "max_prepared_statements" in told.message
    assert "prepared_statement_cache_size=0" in told.message
