"""An export that was asked for: whole, once, and for a while."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from taskforce.application.approval_handlers.data_export import KEPT
from taskforce.application.approvals.results import begin_download, erase_all_old_results, erase_old_results, pieces
from taskforce.application.audit.export import EXPORT_BATCH
from taskforce.application.audit.retention import drop_expired
from taskforce.application.audit.sealing import seal_tenant
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.approvals.records import RequestResult
from taskforce.core.domain.audit.chain import Anchor, Verified, verify
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import DomainError, Forbidden, Missing
from taskforce.core.domain.ids import new_id
from tests.taskforce.application.approval_handlers.requests import approved, asked, carried_out
from tests.taskforce.application.identity.people import actor, admin, code
from tests.taskforce.application.scenario import NOW, Stage

DAY = timedelta(days=1)


async def events(stage: Stage, number: int, at: datetime = NOW) -> None:
    async with stage.database.tenant(stage.tenant_id) as records:
        for _ in range(number):
            await records.audit.append(AuditEvent("alice", "run.pause", "run", "r", "allowed", at))


async def wanted(stage: Stage, **payload: object) -> str:
    """An approved request of Bob's for the log."""
    await admin(stage)
    request_id = await asked(stage, "data_export", what="audit", **payload)
    await approved(stage, request_id, "ada")
    return request_id


async def result(stage: Stage, request_id: str) -> RequestResult | None:
    async with stage.database.tenant(stage.tenant_id) as records:
        return await records.request_results.get(request_id)


async def killed_after(stage: Stage, request_id: str, number: int) -> RequestResult:
    """Begins an export that ends when there are so many pieces; returns how far it has come."""
    task = asyncio.create_task(stage.execution.carry_out(stage.tenant_id, request_id))
    async with asyncio.timeout(60):
        while (so_far := await result(stage, request_id)) is None or so_far.pieces < number:  # noqa: ASYNC110 - rows have no event
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    half = await result(stage, request_id)
    assert half is not None
    return half


async def always() -> bool:
    return True


async def never() -> bool:
    return False


async def downloaded(stage: Stage, request_id: str) -> tuple[str, Anchor]:
    download = await begin_download(stage.database, await actor(stage, "bob"), request_id)
    content = b"".join([piece async for piece in pieces(stage.database, download, always)])
    assert len(content) == download.result.size
    return content.decode(), Anchor.parse(str(download.result.state["end"]))


async def checked(stage: Stage, request_id: str) -> Verified:
    """What is downloaded, checked as an export is."""
    text, end = await downloaded(stage, request_id)
    return verify(text.split("\n")[:-1], end)


async def asked_by_key(stage: Stage, request_id: str) -> tuple[Actor, str]:
    """Asks by an API key of Bob's as he has asked himself; returns the key as who acts, and the approved request."""
    key = (await issue_key(stage.database, await admin(stage), NewKey("bob", "ci", frozenset({"viewer"})))).key
    async with stage.database.tenant(stage.tenant_id) as records:
        request = await records.requests.get(request_id)
        assert request is not None
        approval = replace(request.approval, request_id=new_id(), decisions=())
        await records.requests.add(replace(request, approval=approval, key_id=key.key_id))
    await approved(stage, approval.request_id, "ada")
    bob = await actor(stage, "bob")
    return replace(bob, principal=replace(bob.principal, key_id=key.key_id)), approval.request_id


async def test_a_key_has_only_what_it_has_asked_for_itself(stage: Stage) -> None:
    """What its user was allowed to have is more than the key may read."""
    in_person = await wanted(stage)
    by_key, own = await asked_by_key(stage, in_person)
    for request_id in (in_person, own):
        await carried_out(stage, request_id)
    assert await code(begin_download(stage.database, by_key, in_person)) == "result_not_found"
    assert (await begin_download(stage.database, by_key, own)).result.size > 0


async def test_for_a_key_that_was_revoked_nothing_is_exported(stage: Stage) -> None:
    by_key, own = await asked_by_key(stage, await wanted(stage))
    async with stage.database.tenant(stage.tenant_id) as records:
        assert await records.keys.revoke(str(by_key.principal.key_id), stage.now)
    assert (await carried_out(stage, own)).data == {"code": "api_key_ended"}


async def test_the_log_is_exported_once_with_the_record_of_its_own_export(stage: Stage) -> None:
    request_id = await wanted(stage)
    await events(stage, 2 * EXPORT_BATCH)
    done = await carried_out(stage, request_id)
    found = await checked(stage, request_id)
    assert found.start == Anchor.genesis(stage.tenant_id)
    assert done.comment.startswith(f"{found.events} audit events were exported")
    assert (await downloaded(stage, request_id))[0].count('"action":"audit.export"') == 1
    assert await stage.audited("audit.export") == [("bob", "allowed", None)]


async def test_several_workers_write_it_together_and_a_killed_one_is_followed(stage: Stage) -> None:
    request_id = await wanted(stage)
    await events(stage, 9 * EXPORT_BATCH)
    half = await killed_after(stage, request_id, 2)
    assert 2 <= half.pieces < 9
    both = await asyncio.gather(*(stage.execution.carry_out(stage.tenant_id, request_id) for _ in range(2)))
    assert both[0] == both[1]
    assert (await checked(stage, request_id)).events > 9 * EXPORT_BATCH
    whole = await result(stage, request_id)
    assert whole is not None
    # Header, nine pages of events and a tenth of what else was told, and the end: no piece twice.
    assert whole.pieces == 12
    assert len(await stage.audited("audit.export")) == len(await stage.audited("approval.carry_out")) == 1


async def test_of_a_time_the_part_of_the_chain_is_exported_that_holds_it(stage: Stage) -> None:
    await admin(stage)
    for day in range(5):
        await events(stage, 3, NOW - DAY * (5 - day))
        await seal_tenant(stage.database, stage.tenant_id)
    since, until = NOW - 4 * DAY, NOW - 2 * DAY
    request_id = await wanted(stage, **{"from": since.isoformat(), "to": until.isoformat()})
    await carried_out(stage, request_id)
    found = await checked(stage, request_id)
    assert found.events == 6
    nothing = await wanted(stage, **{"from": (NOW - 9 * DAY).isoformat(), "to": (NOW - 8 * DAY).isoformat()})
    assert (await carried_out(stage, nothing)).comment.startswith("0 audit events")
    assert (await checked(stage, nothing)).events == 0


async def test_a_log_that_was_shortened_meanwhile_is_not_exported_in_half(stage: Stage) -> None:
    request_id = await wanted(stage)
    await events(stage, 2 * EXPORT_BATCH, NOW - 9 * DAY)
    await killed_after(stage, request_id, 1)
    assert await drop_expired(stage.database, stage.tenant_id, NOW - DAY, stage.now) == 2 * EXPORT_BATCH
    refused = await carried_out(stage, request_id)
    assert (refused.kind, refused.data["code"]) == ("not_carried_out", "audit_dropped")
    attempt = begin_download(stage.database, await actor(stage, "bob"), request_id)
    assert await code(attempt) == "result_not_found"


async def test_the_requester_alone_has_it_and_when_it_is_there(stage: Stage) -> None:
    request_id = await wanted(stage)
    bob, ada = await actor(stage, "bob"), await actor(stage, "ada")
    assert await code(begin_download(stage.database, bob, request_id)) == "result_not_ready"
    await carried_out(stage, request_id)
    assert await code(begin_download(stage.database, ada, request_id)) == "result_not_found"
    assert await stage.audited("approval.download") == []
    await downloaded(stage, request_id)
    assert await stage.audited("approval.download") == [("bob", "allowed", None)]
    waiting = await asked(stage, "data_export", what="audit")
    assert await code(begin_download(stage.database, bob, waiting)) == "not_approved"


async def test_a_reader_who_may_read_no_longer_is_sent_nothing_more(stage: Stage) -> None:
    request_id = await wanted(stage)
    await carried_out(stage, request_id)
    download = await begin_download(stage.database, await actor(stage, "bob"), request_id)
    with pytest.raises(Forbidden) as refused:
        [piece async for piece in pieces(stage.database, download, never)]
    assert refused.value.code == "download_ended"


async def test_who_was_deactivated_meanwhile_has_nothing_exported(stage: Stage) -> None:
    request_id = await wanted(stage)
    await stage.deactivate("bob")
    assert (await carried_out(stage, request_id)).data["code"] == "user_deactivated"
    assert await result(stage, request_id) is None


async def test_it_is_kept_for_its_time_and_erased_after_it(stage: Stage) -> None:
    request_id = await wanted(stage)
    await events(stage, EXPORT_BATCH)
    await carried_out(stage, request_id)
    download = await begin_download(stage.database, await actor(stage, "bob"), request_id)
    over = download.result.kept_until
    assert over > stage.now + KEPT - timedelta(minutes=1)
    stage.now = over - timedelta(seconds=1)
    await stage.person("bob", "viewer")
    assert await erase_old_results(stage.database, stage.tenant_id, stage.now) == 0
    await downloaded(stage, request_id)
    stage.now = over
    assert await code(begin_download(stage.database, await actor(stage, "bob"), request_id)) == "result_not_found"
    assert await erase_all_old_results(stage.database, stage.database, over) >= 1
    assert await stage.rows("request_result_pieces", "number") == await stage.rows("request_results", "pieces") == []
    assert await stage.audited("approval.erase_result") == [("system", "allowed", None)]
    # A download that had begun is not ended as if it were whole.
    with pytest.raises(Missing):
        [piece async for piece in pieces(stage.database, download, always)]


async def test_other_tenants_find_none_of_it(stage: Stage) -> None:
    request_id = await wanted(stage)
    await carried_out(stage, request_id)
    other = Stage(stage.database, f"{stage.tenant_id}-other")
    await other.person("bob", "viewer")
    with pytest.raises(DomainError) as refused:
        await begin_download(stage.database, await actor(other, "bob"), request_id)
    assert refused.value.code == "request_not_found"
    assert await result(other, request_id) is None
