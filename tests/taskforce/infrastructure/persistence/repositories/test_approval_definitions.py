"""Rows of approval definitions."""

from dataclasses import replace

import pytest

from taskforce.core.domain.approvals.definitions import Definition
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, Terms, TimedAction
from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.infrastructure.persistence.factories import NASTY, NOW, SECOND, STORED, settled

TERMS = Terms(
    required_approvers=2,
    allowed_people=("bob",),
    signal_channel=True,
    expire_seconds=100_001,
    actions=(TimedAction(ActionKind.WIDEN, 3_601, Deciders(("cfo",), ("u-17",))),),
    carries_out=False,
)
ONE = Definition("one", "One", "tool_call", TERMS, tools=("pay",), metadata={"a": [1, None, {"b": 0.5}]})


@pytest.fixture
async def ready(database: Database, tenant: str) -> str:
    await settled(database, tenant)
    return tenant


async def test_a_definition_comes_back_as_it_was(database: Database, ready: str) -> None:
    async with database.tenant(ready) as records:
        saved = await records.definitions.save(ONE, "alice", NOW)
        assert saved == replace(ONE, version=1, created_at=NOW, updated_at=NOW)
    async with database.tenant(ready) as records:
        assert await records.definitions.get("one") == saved
        assert await records.definitions.locked("one") == saved
        assert await records.definitions.get("two") is None
        assert await records.definitions.all() == await records.definitions.page(None, 10) == [saved]
        assert await records.definitions.page("one", 10) == []
        assert await records.definitions.count() == 1


async def test_only_the_version_that_was_read_is_replaced(database: Database, ready: str) -> None:
    async with database.tenant(ready) as records:
        first = await records.definitions.save(ONE, "alice", NOW)
        assert await records.definitions.save(ONE, "alice", NOW) is None
        assert first is not None
        second = await records.definitions.save(replace(first, name="Two"), "bob", NOW + SECOND)
        assert second == replace(first, name="Two", version=2, updated_at=NOW + SECOND)
        assert await records.definitions.save(replace(first, name="Late"), "carol", NOW) is None
        assert await records.definitions.get("one") == second


async def test_a_definition_goes_once(database: Database, ready: str) -> None:
    async with database.tenant(ready) as records:
        await records.definitions.save(ONE, "alice", NOW)
        assert [await records.definitions.remove("one") for _ in range(2)] == [True, False]
        assert await records.definitions.all() == []


async def test_any_text_can_be_asked_for_and_kept_among_the_facts(database: Database, ready: str) -> None:
    async with database.tenant(ready) as records:
        assert await records.definitions.get(NASTY) is None
        await records.definitions.save(replace(ONE, metadata={"note": NASTY}), "alice", NOW)
        found = await records.definitions.get("one")
    assert found is not None
    assert found.metadata == {"note": STORED}
