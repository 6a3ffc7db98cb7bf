"""`kill -9` of a worker in the middle of an export: another goes on where it was, and it is one export."""

import asyncio

from taskforce.application.approvals.requests import ApprovalRequestSpec, insert_request
from taskforce.application.approvals.results import begin_download, pieces
from taskforce.application.audit.export import EXPORT_BATCH
from taskforce.application.identity.principals import Actor, load_principal
from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.approvals.records import Request, RequestResult
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.audit.chain import Anchor, verify
from taskforce.core.domain.audit.events import AuditEvent, AuditFilter
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.paging import Page
from taskforce.infrastructure.persistence.database import Database
from tests.chaos.worker_process import Crew
from tests.fixtures.missions import Missions, now

EVENTS = 40 * EXPORT_BATCH


async def alice(missions: Missions) -> Actor:
    async with missions.database.tenant(missions.tenant_id) as records:
        return Actor(await load_principal(records, "alice", AccessRules(), now()), AccessRules(), None, now())


async def asked(missions: Missions) -> Request:
    """Alice asks for the log, which has many pages."""
    await missions.person("alice", "viewer")
    await missions.person("bob", "admin")
    actor = await alice(missions)
    async with missions.database.tenant(missions.tenant_id) as records:
        for _ in range(EVENTS):
            await records.audit.append(AuditEvent("alice", "run.pause", "run", "r", "allowed", now()))
        wanted = ApprovalRequestSpec(
            "data_export", "May I?", "", "none", "", {"what": "audit"}, Terms(allowed_roles=("admin",))
        )
        request = await insert_request(records, actor, wanted, new_id())
    await missions.workflow_client.approvals.start(missions.tenant_id, request)
    return request


async def result(missions: Missions, request_id: str, least: int, *, whole: bool = False) -> RequestResult:
    """Waits until so many pieces are written, or it is whole."""
    async with asyncio.timeout(120):
        while True:
            async with missions.database.tenant(missions.tenant_id) as records:
                found = await records.request_results.get(request_id)
            if found is not None and found.pieces >= least and (found.finished_at or not whole):
                return found
            await asyncio.sleep(0.005)


async def test_an_export_whose_worker_is_killed_is_one_whole_export(
    crew: Crew, endangered: Missions, database: Database
) -> None:
    await crew.hire()
    request = await asked(endangered)
    request_id = request.approval.request_id
    approving = SubmittedDecision(approver_id="bob", verdict=Verdict.APPROVE, comment="")
    assert (await endangered.workflow_client.approvals.decide(endangered.tenant_id, request_id, approving)).code is None
    await result(endangered, request_id, 3)
    await crew.kill()
    half = await result(endangered, request_id, 3)
    assert half.pieces < EVENTS // EXPORT_BATCH

    await crew.hire()
    await result(endangered, request_id, half.pieces, whole=True)
    download = await begin_download(database, await alice(endangered), request_id)

    async def always() -> bool:
        return True

    text = b"".join([piece async for piece in pieces(database, download, always)]).decode()
    end = Anchor.parse(str(download.result.state["end"]))
    assert verify(text.split("\n")[:-1], end, start=Anchor.genesis(endangered.tenant_id)).events > EVENTS
    history = await endangered.history(request_id)
    assert history == ["created", "approved_by", "approved", "carried_out", "downloaded"]
    async with database.tenant(endangered.tenant_id) as records:
        for action in ("audit.export", "approval.carry_out"):
            assert len(await records.audit.page(AuditFilter(action=action), Page(9))) == 1
