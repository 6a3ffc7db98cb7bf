"""Runs that ask for approval, and decisions."""

from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.runs.run import Limits
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls

PAY = [("pay", {"amount": 7})]


async def asked(
    missions: Missions, scripted: ScriptedLLM, key_id: str | None = None, limits: Limits | None = None
) -> tuple[str, str]:
    """Starts a run that wants to pay; returns run and request."""
    scripted.script([tool_calls(PAY, says="I must pay."), text("So be it.")])
    run_id = await missions.start(key_id=key_id, limits=limits)
    event = await missions.event(run_id, "approval.requested")
    return run_id, str(event.data["request_id"])


def yes(approver: str = "bob", comment: str = "fine") -> SubmittedDecision:
    return SubmittedDecision(approver_id=approver, verdict=Verdict.APPROVE, comment=comment)
