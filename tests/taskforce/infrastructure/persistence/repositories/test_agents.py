"""The catalog's rows: searched as the rules search, walled off, at the cost of the tenant's own agents."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from taskforce.core.domain.catalog.agent import Agent, Description
from taskforce.core.domain.catalog.search import rank
from taskforce.core.domain.catalog.version import VersionStatus
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.repositories.catalog import AgentFilter
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.connection import Connection, Row
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.agents import GOOD, NOW, act, keep, made, published
from tests.fixtures.plans import Plan, watched
from tests.fixtures.stack import DatabaseUrls

ANY = AgentFilter()
WORDS = re.findall(
    r"\w+",
    """customer support refund invoice billing travel legal review summary report finance ledger audit policy claim
    insurance health patient record order shipping return warehouse stock price quote sales lead marketing campaign
    email chat voice ticket incident network server deploy code test security risk compliance contract salary payroll
    hiring interview training course lesson exam grade school library book search answer question""",
)
LARGE, SMALL = "catalog-large", "catalog-small"
LENGTH = 420
"""Words of a description besides the first dozen, which make it as long as it is searched."""


def described(number: int, more: int = 0) -> Description:
    """Agent number n of many: words of a vocabulary, each by its own stride, one that no other has, and many more."""
    picked = [WORDS[(number * stride + stride) % len(WORDS)] for stride in (1, 3, 7, 11, 13, 17, 19, 23)]
    name = f"{picked[0].title()} {picked[1]} agent {number}"
    text = f"Handles {', '.join(picked[2:])} for unit u{number} of department d{number % 100}."
    text += "".join(f" {WORDS[(number + place) % len(WORDS)]}{number * place % 97}" for place in range(more))
    return Description(
        name, f"agent-{number}", text, picked[3], frozenset({picked[4], f"team:{number % 50}"}), f"user-{number % 20}"
    )


async def fill(database: Database, tenant: str, count: int, more: int = 0) -> list[Agent]:
    await database.register_tenant(tenant, NOW)
    agents: list[Agent] = []
    async with database.tenant(tenant) as records:
        for number in range(count):
            at = NOW + timedelta(seconds=number)
            agent = Agent.made(tenant, new_id(), described(number, more), new_id(), GOOD, act=replace(act(), at=at))
            if number % 3 == 0:
                agent = published(agent, "0.1.0")
            await records.catalog.add(agent)
            agents.append(agent)
    return agents


async def test_an_agent_comes_back_as_it_was(database: Database, tenant: str) -> None:
    await database.register_tenant(tenant, NOW)
    first = await keep(database, made(tenant, definition={**GOOD, "n": [1, 2.5, None, {"x": "é\u2028"}], "big": 1e25}))
    second = first.drafted(new_id(), "1.0.0-rc.1+b", {"tools": []}, "New.", act())
    third = published(second, "0.1.0").pointed("stable", "0.1.0", NOW)
    for was, agent in ((first, second), (second, third)):
        await keep(database, agent, was)
        async with database.tenant(tenant) as records:
            assert await records.catalog.get(agent.agent_id) == agent
            assert await records.catalog.get(agent.about.slug) == agent
            assert await records.catalog.locked(agent.agent_id.upper()) == agent
    async with database.tenant(tenant) as records:
        await records.catalog.remove(third.agent_id)
        assert await records.catalog.get(third.agent_id) is None
        assert await records.catalog.alone() == 0


async def test_an_agent_that_is_removed_while_it_is_read_is_not_there(
    database: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.register_tenant(tenant, NOW)
    agent = await keep(database, made(tenant))
    first = Connection.first

    async def and_removed(connection: Connection, *asked: Any) -> Row | None:
        row = await first(connection, *asked)
        async with database.tenant(tenant) as records:
            await records.catalog.remove(agent.agent_id)
        return row

    async with database.tenant(tenant) as records:
        monkeypatch.setattr(Connection, "first", and_removed)
        assert await records.catalog.get(agent.agent_id) is None


async def test_where_names_lead(database: Database, tenant: str) -> None:
    await database.register_tenant(tenant, NOW)
    agent = published(made(tenant), "0.1.0").drafted("0190aaaa-0000-7000-8000-000000000001", "1.0.0", GOOD, "", act())
    agent = agent.pointed("stable", "0.1.0", NOW)
    await keep(database, agent)

    async def number(*asked: str | None) -> str | None:
        async with database.tenant(tenant) as records:
            resolve = await records.catalog.resolve(agent.agent_id, asked[0], asked[1])
        assert resolve is not None
        return resolve.version.version_number if resolve.version else None

    assert await number(None, None) == "0.1.0"
    assert await number("1.0.0", None) == "1.0.0"
    assert await number(None, "stable") == "0.1.0"
    assert await number(None, "canary") is None
    assert await number("2.0.0", None) is None
    async with database.tenant(tenant) as records:
        assert await records.catalog.resolve("absent", None, None) is None
        assert await records.catalog.tags("counter") == ["nlp"]
        assert await records.catalog.tags("absent") == ()
        assert await records.catalog.id_of("counter") == agent.agent_id
        assert await records.catalog.id_of(new_id()) is None
    async with database.tenant(f"{tenant}-other") as records:
        assert await records.catalog.get(agent.agent_id) is None
        assert await records.catalog.resolve("counter", None, None) is None
        assert await records.catalog.tags(agent.agent_id) == ()
        assert await records.catalog.search(ANY, "counter", 10, None) == []


QUESTIONS = ("support", "u7", "team 7", "Custom", "agents", "policies", "claim unit", "refunds d1", "nothing")


@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_database_finds_and_ranks_as_the_rules_do(database: Database, question: str) -> None:
    agents = await _some(database)
    ranked = sorted(((rank(one.about, question), one.agent_id) for one in agents), reverse=True)
    expected = [(round(place, 9), agent_id) for place, agent_id in ranked if place > 0]
    found: list[tuple[float, str]] = []
    after: tuple[float, str] | None = None
    while True:
        async with database.tenant("catalog-some") as records:
            page = await records.catalog.search(ANY, question, 7, after)
        found += [(round(one.rank, 9), one.agent_id) for one in page]
        if len(page) < 7:
            break
        after = (page[-1].rank, page[-1].agent_id)
    assert found == expected
    assert (question == "nothing") == (found == [])


async def _some(database: Database) -> list[Agent]:
    if not _KEPT:
        _KEPT.extend(await fill(database, "catalog-some", 130))
    return _KEPT


_KEPT: list[Agent] = []


async def test_filters_and_a_question_together(database: Database) -> None:
    agents = await _some(database)
    which = AgentFilter(tags=frozenset({"team:3", "team:4"}), status=VersionStatus.PUBLISHED)
    async with database.tenant("catalog-some") as records:
        listed = await records.catalog.page(which, Page(100))
        answering = await records.catalog.search(which, "unit", 100, None)
    wanted = [one.agent_id for one in agents if one.current and one.about.tags & which.tags]
    assert [one.agent_id for one in listed] == wanted[::-1]
    assert {one.agent_id for one in answering} == set(wanted)
    assert wanted


_COPY = """
INSERT INTO agents
SELECT $2, gen_random_uuid(), 'agent-' || n.new, regexp_replace(name, '[0-9]+$', n.new),
    replace(description, format('unit u%s of', n.old), format('unit u%s of', n.new)), category, tags, owner_id,
    ts_delete(search, ARRAY[n.old, 'u' || n.old]) || format('%s:1A u%s:1C', n.new, n.new)::tsvector,
    aliases, current_id, current_number, latest_number, latest_status, statuses, revision,
    created_at + make_interval(secs => $3 * copy), updated_at + make_interval(secs => $3 * copy)
FROM agents, generate_series(0, $4 - 1) copy,
    LATERAL (SELECT substr(slug, 7) AS old, (substr(slug, 7)::int + $3 * copy)::text AS new) n
WHERE tenant_id = $1 ORDER BY copy, created_at
"""
PATTERNS = 500
"""Agents that are made as the product makes them; the others are copies of these, each under a number of its own."""


@pytest.fixture(scope="module")
async def crowded(database: Database, postgres: DatabaseUrls) -> None:
    """A tenant with ten thousand agents, one with a thousand, described at length, and eight others."""
    await fill(database, "catalog-long", PATTERNS, more=LENGTH)
    await fill(database, "catalog-short", PATTERNS)
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    crowds = [("catalog-long", LARGE, 10_000), ("catalog-long", SMALL, 1_000)]
    for pattern, tenant, count in [*crowds, *(("catalog-short", f"catalog-{number}", 500) for number in range(8))]:
        await database.register_tenant(tenant, NOW)
        await connection.execute(_COPY, pattern, tenant, PATTERNS, count // PATTERNS)
    # PostgreSQL plans by what it last counted; a tenant's own role may not analyse.
    await connection.execute("ANALYZE agents")
    await connection.close()


async def _plan(database: Database, tenant: str, which: AgentFilter, question: str | None) -> Plan:
    """How a page is found; it is one statement, whatever is asked."""
    async with database.tenant(tenant) as records, watched(records) as statements:
        if question is None:
            await records.catalog.page(which, Page(21))
        else:
            await records.catalog.search(which, question, 21, None)
        (plan,) = await statements.plans()
    return plan


async def test_a_plain_page_costs_the_same_however_many_agents_there_are(database: Database, crowded: None) -> None:
    large, small = [await _plan(database, tenant, ANY, None) for tenant in (LARGE, SMALL)]
    assert large.indexes == {"agents_newest"}
    assert not large.read_whole
    assert large.pages < 2 * small.pages


@pytest.mark.parametrize(
    ("which", "question"),
    [
        (AgentFilter(category="support"), None),
        (AgentFilter(tags=frozenset({"team:7"})), None),
        (AgentFilter(tags=frozenset({"absent"})), None),
        (AgentFilter(status=VersionStatus.ARCHIVED), None),
        (AgentFilter(owner_id="absent"), None),
        (ANY, "u4711"),
        (ANY, "refund"),
        (ANY, "customer sup"),
        (ANY, "agent"),
        (ANY, "agent handles unit department"),
        (ANY, "absent"),
        (AgentFilter(category="support", tags=frozenset({"team:7"})), "agent"),
    ],
    ids=str,
)
async def test_other_pages_cost_no_more_than_the_tenants_own_agents(
    database: Database, crowded: None, which: AgentFilter, question: str | None
) -> None:
    large, small = [await _plan(database, tenant, which, question) for tenant in (LARGE, SMALL)]
    assert small.indexes
    assert not small.read_whole  # which would be the agents of all tenants
    assert large.pages < 15 * small.pages
