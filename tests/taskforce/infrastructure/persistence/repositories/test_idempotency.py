"""The first answer to an idempotency key."""

import asyncio
from dataclasses import replace

import pytest

from taskforce.core.domain.idempotency import StoredAnswer
from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.infrastructure.persistence.factories import NOW, settled

ANSWER = StoredAnswer("hash", 202, {"run_id": "1", "none": None})


async def claim(database: Database, tenant: str, answer: StoredAnswer, key: str = "k") -> StoredAnswer | None:
    async with database.tenant(tenant) as records:
        return await records.answers.claim("alice", "execute", key, answer, NOW)


async def test_one_of_many_rivals_wins_and_all_others_get_its_answer(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    offers = [replace(ANSWER, body={"run_id": str(number)}) for number in range(50)]
    answers = await asyncio.gather(*(claim(database, tenant, offer) for offer in offers))
    winners = [offer for offer, answer in zip(offers, answers, strict=True) if answer is None]
    assert len(winners) == 1
    assert {str(answer.body["run_id"]) for answer in answers if answer} == {str(winners[0].body["run_id"])}


async def test_the_first_answer_is_replayed_as_it_was(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    assert await claim(database, tenant, ANSWER) is None
    assert await claim(database, tenant, StoredAnswer("other", 500, {})) == ANSWER


async def test_a_key_belongs_to_one_person_and_one_route_and_one_tenant(database: Database, tenant: str) -> None:
    other = f"{tenant}-b"
    await settled(database, tenant, "alice", "bob")
    await settled(database, other)
    assert await claim(database, tenant, ANSWER) is None
    assert await claim(database, other, ANSWER) is None
    async with database.tenant(tenant) as records:
        assert await records.answers.claim("bob", "execute", "k", ANSWER, NOW) is None
        assert await records.answers.claim("alice", "messages", "k", ANSWER, NOW) is None
        assert await records.answers.claim("alice", "execute", "K", ANSWER, NOW) is None


async def test_a_claim_that_rolls_back_frees_the_key_for_who_waits(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    claimed = asyncio.Event()
    fail = asyncio.Event()

    async def failing() -> None:
        async with database.tenant(tenant) as records:
            assert await records.answers.claim("alice", "execute", "k", ANSWER, NOW) is None
            claimed.set()
            await fail.wait()
            raise LookupError

    first = asyncio.create_task(failing())
    await claimed.wait()
    second = asyncio.create_task(claim(database, tenant, replace(ANSWER, body_hash="second")))
    fail.set()
    with pytest.raises(LookupError):
        await first
    assert await second is None
    kept = await claim(database, tenant, ANSWER)
    assert kept is not None
    assert kept.body_hash == "second"
