"""Requests for approval and the words on them."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import cycle, product

from taskforce.core.domain.approvals.approval import Approval, ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.records import Approver, HistoryEntry, Matches, Request, RequestFilter
from taskforce.core.domain.approvals.terms import Deciders, Terms
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.paging import Page
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.tenant_records import TenantRecords
from tests.fixtures.plans import watched
from tests.taskforce.infrastructure.persistence.factories import NASTY, NOW, SECOND, STORED, queued, request


async def test_a_request_comes_back_as_it_was_with_its_decisions_in_order(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    asked = request(run.run_id)
    request_id = asked.approval.request_id
    said = [
        Decision("carol", Verdict.REJECT, "", Channel.SIGNAL, NOW),
        Decision("bob", Verdict.APPROVE, "fine", Channel.API, NOW + SECOND),
    ]
    async with database.tenant(tenant) as records:
        assert await records.requests.add(asked)
        assert await records.requests.get(request_id) == asked
        for decision in reversed(said):
            assert await records.requests.decided(request_id, decision)
        found = await records.requests.get(request_id)
        assert await records.requests.get(new_id()) is None
    assert found == replace(asked, approval=replace(asked.approval, decisions=tuple(said)))


async def test_a_request_a_decision_and_an_end_count_once(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    asked = request(run.run_id)
    request_id = asked.approval.request_id
    word = Decision("bob", Verdict.APPROVE, "", Channel.API, NOW)
    async with database.tenant(tenant) as records:
        assert await records.requests.add(asked)
        assert not await records.requests.add(replace(asked, title="forged"))
        assert await records.requests.decided(request_id, word)
        assert not await records.requests.decided(request_id, replace(word, verdict=Verdict.REJECT))
        assert await records.requests.close(request_id, ApprovalStatus.APPROVED, "", NOW)
        assert not await records.requests.close(request_id, ApprovalStatus.REJECTED, "late", NOW)
        found = await records.requests.get(request_id)
    assert found is not None
    assert (found.title, found.approval.decisions, found.status) == (asked.title, (word,), ApprovalStatus.APPROVED)
    assert (found.reason, found.closed_at) == ("", NOW)


async def test_only_one_of_two_rival_ends_counts(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    asked = request(run.run_id)
    async with database.tenant(tenant) as records:
        await records.requests.add(asked)

    async def close(status: ApprovalStatus) -> bool:
        async with database.tenant(tenant) as records:
            return await records.requests.close(asked.approval.request_id, status, "", NOW)

    ends = [ApprovalStatus.APPROVED, ApprovalStatus.EXPIRED] * 5
    assert sum(await asyncio.gather(*(close(end) for end in ends))) == 1


async def test_whatever_is_asked_for_can_be_kept(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    asked = request(run.run_id, title=NASTY, payload={"arguments": {NASTY: [NASTY]}})
    async with database.tenant(tenant) as records:
        await records.requests.add(asked)
        await records.requests.decided(
            asked.approval.request_id, Decision("bob", Verdict.REJECT, NASTY, Channel.API, NOW)
        )
        await records.requests.close(asked.approval.request_id, ApprovalStatus.REJECTED, NASTY, NOW)
        found = await records.requests.get(asked.approval.request_id)
    assert found is not None
    assert (found.title, found.reason, found.approval.decisions[0].comment) == (STORED, STORED, STORED)
    assert found.payload == {"arguments": {STORED: [STORED]}}
    assert found.content_hash == asked.content_hash


async def test_pending_requests_are_paged_newest_first(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    asked = [
        request(run.run_id, approval=Approval(new_id(), "alice", Terms(), NOW + (number // 3) * SECOND))
        for number in range(11)
    ]
    async with database.tenant(tenant) as records:
        for one in asked:
            await records.requests.add(one)
        await records.requests.close(asked[4].approval.request_id, ApprovalStatus.EXPIRED, "", NOW)
    seen: list[str] = []
    page = Page(4)
    while True:
        async with database.tenant(tenant) as records:
            found = await records.requests.pending(page)
            late = Approval(new_id(), "alice", Terms(), NOW + 99 * SECOND)
            await records.requests.add(request(run.run_id, approval=late))
        if not found:
            break
        seen += [one.approval.request_id for one in found]
        page = Page(4, before=(found[-1].approval.opened_at, found[-1].approval.request_id))
    open_ones = [one.approval for one in asked if one is not asked[4]]
    ordered = sorted(open_ones, key=lambda one: (one.opened_at, one.request_id), reverse=True)
    assert seen == [one.request_id for one in ordered]


async def test_an_approver_finds_the_own_ones_and_those_that_lack_the_approvers_word(
    database: Database, tenant: str
) -> None:
    run = await queued(database, tenant)

    def ask(requester: str, *roles: str) -> str:
        approval = Approval(new_id(), requester, Terms(allowed_roles=roles, required_approvers=2), NOW)
        asked.append(request(run.run_id, approval=approval))
        return approval.request_id

    asked: list[Request] = []
    own, decidable, decided = ask("bob", "admin"), ask("alice", "admin", "boss"), ask("alice", "boss")
    others = ask("alice", "admin")
    async with database.tenant(tenant) as records:
        for one in asked:
            await records.requests.add(one)
        await records.requests.decided(decided, Decision("bob", Verdict.APPROVE, "", Channel.API, NOW))

        async def found(user_id: str, *roles: str) -> set[str]:
            listed = await records.requests.pending(Page(10), Approver(user_id, frozenset(roles)))
            return {one.approval.request_id for one in listed}

        assert await found("bob", "boss", "viewer") == {own, decidable}
        assert await found("carol", "boss") == {decidable, decided}
        assert await found("carol", "admin") == {own, decidable, others}
        assert await found("bob") == {own}
        assert await found("carol") == set()
        assert await found("carol", "\x00\ud800", "{boss}", "boss,admin") == set()


async def test_a_very_long_history_shows_its_end(database: Database, tenant: str) -> None:
    asked = replace(request(new_id()), run_id=None)
    request_id = asked.approval.request_id
    async with database.tenant(tenant) as records:
        await records.requests.add(asked)
        for number in range(2_003):
            at = NOW + timedelta(milliseconds=number)
            await records.requests.happened(request_id, HistoryEntry(f"{number}", "commented", "alice", at))
        history = await records.requests.history(request_id)
    assert [one.name for one in history] == [f"{number}" for number in range(3, 2_003)]


async def test_requests_are_counted_by_their_definition_by_an_index(database: Database, tenant: str) -> None:
    run = await queued(database, tenant)
    async with database.tenant(tenant) as records:
        for number in range(300):
            asked = request(run.run_id, call=number + 1, definition_id=None if number % 3 else "often")
            opened = replace(asked.approval, opened_at=NOW + number * SECOND)
            assert await records.requests.add(replace(asked, approval=opened))
        await records.requests.add(request(run.run_id, step=2, definition_id="once"))
    async with database.tenant(tenant) as records, watched(records) as statements:
        found = await records.requests.matches(["often", "once", "never"])
        (plan,) = await statements.plans()
    assert found == {"often": Matches(100, NOW + 297 * SECOND), "once": Matches(1, NOW), "never": Matches()}
    assert plan.indexes == {"approvals_of_definition"}
    assert not plan.read_whole


async def test_a_person_finds_the_requests_that_concern_them_whatever_becomes_of_these(
    database: Database, tenant: str
) -> None:
    """Compared with a look at every request, for people with roles, names and delegations, and after each change."""
    run = await queued(database, tenant)
    statuses = (ApprovalStatus.PENDING, ApprovalStatus.APPROVED, ApprovalStatus.EXPIRED)
    asked: list[Request] = []
    for number in range(24):
        who = Deciders(("admin", "boss")[: number % 3], ("bob", "carol")[: number % 2 + number // 20])
        opened_at = NOW + (number // 3) * SECOND
        approval = Approval(new_id(), f"user-{number % 4}", Terms(), opened_at, deciders=who)
        asked.append(request(run.run_id, approval=approval, request_type="data_export" if number % 5 else "tool_call"))
    boss = Approver("user-1", frozenset({"boss"}))
    everybody = [
        boss,
        Approver("bob", frozenset()),
        Approver("user-2", frozenset({"viewer"}), stands_for=(boss, Approver("carol", frozenset()))),
        Approver("nobody", frozenset({"{boss}", "requester:user-1", "\x00\ud800"})),
        Approver("1", frozenset({"admin"}), stands_for=(Approver("user-3", frozenset()),)),
    ]
    filters = [
        RequestFilter(*chosen)
        for chosen in product((None, *statuses), (None, "tool_call"), (None, "user-1"), (None, run.run_id, new_id()))
    ]

    def concerns(one: Request, person: Approver) -> bool:
        who = one.approval.who
        grounds = (person, *person.stands_for)
        decides = any(each.user_id in who.people or each.roles & set(who.roles) for each in grounds)
        return decides or one.approval.requester_id == person.user_id

    async def compare() -> None:
        async with database.tenant(tenant) as records:
            everything = await records.requests.page(RequestFilter(), Page(100))
            assert len(everything) == len(asked)
            for person, which in product(everybody, filters):
                expected = [one for one in everything if concerns(one, person) and _matches(one, which)]
                assert await _pages(records, which, person) == [one.approval.request_id for one in expected]

    async with database.tenant(tenant) as records:
        for one in asked:
            await records.requests.add(one)
    await compare()
    async with database.tenant(tenant) as records:
        for one, status in zip(asked[:12], cycle(statuses[1:]), strict=False):
            await records.requests.close(one.approval.request_id, status, "", NOW)
        for one in asked[12:18]:
            who = Deciders(("boss",), ("user-3", "bob"))
            await records.requests.save(replace(one, approval=replace(one.approval, deciders=who)))
    await compare()


def _matches(one: Request, which: RequestFilter) -> bool:
    said = {"status": one.status, "request_type": one.request_type, "run_id": one.run_id}
    said["requester_id"] = one.approval.requester_id
    return all(getattr(which, name) in {None, value} for name, value in said.items())


async def _pages(records: TenantRecords, which: RequestFilter, person: Approver) -> list[str]:
    found: list[str] = []
    before = None
    while page := await records.requests.page(which, Page(5, before), person):
        found += [one.approval.request_id for one in page]
        before = (page[-1].approval.opened_at, page[-1].approval.request_id)
    return found
