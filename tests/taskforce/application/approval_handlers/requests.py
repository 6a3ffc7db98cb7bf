"""Requests of which something follows, approved and carried out."""

from datetime import timedelta

from taskforce.application.approval_handlers.registry import all_handlers
from taskforce.application.approvals.decisions import RecordedDecision
from taskforce.application.approvals.requests import CreatedRequest, Deployment, RequestDraft, create_request
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.approvals.records import HistoryEntry
from taskforce.core.domain.approvals.terms import Terms
from tests.taskforce.application.identity.people import actor
from tests.taskforce.application.scenario import RULES, Stage

SAYS = Deployment(DefinitionRules(), Terms(), all_handlers(RULES))


async def asked(stage: Stage, request_type: str = "permission_escalation", **payload: object) -> str:
    """Bob asks for something; returns the request."""
    await stage.person("bob", "viewer")
    wish = RequestDraft(request_type, "May I?", "", "none", "", payload)
    made: CreatedRequest = await create_request(
        stage.database, await actor(stage, "bob"), wish, SAYS, key=None, body={}
    )
    return made.request_id


async def approved(
    stage: Stage, request_id: str, *approvers: str, on_behalf_of: str | None = None, key_id: str | None = None
) -> None:
    """Some approve a request, and it ends so."""
    for approver in approvers:
        said = Decision(approver, Verdict.APPROVE, "", Channel.API, stage.now, on_behalf_of, key_id=key_id)
        await stage.decisions.record(stage.tenant_id, request_id, RecordedDecision(said))
    await stage.decisions.close(stage.tenant_id, request_id, ApprovalStatus.APPROVED, "")


async def carried_out(stage: Stage, request_id: str) -> HistoryEntry:
    """Carries a request out twice, as a worker does that is killed after the first time."""
    first = await stage.execution.carry_out(stage.tenant_id, request_id)
    stage.now += timedelta(seconds=1)
    assert await stage.execution.carry_out(stage.tenant_id, request_id) == first
    async with stage.database.tenant(stage.tenant_id) as records:
        history = await records.requests.history(request_id)
    (one,) = [one for one in history if "carried_out" in one.kind]
    assert one.comment == first
    return one
