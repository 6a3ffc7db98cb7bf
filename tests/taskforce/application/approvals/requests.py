"""Requests that wait for decisions."""

from dataclasses import replace

from taskforce.core.domain.ids import new_id
from tests.taskforce.application.scenario import AGENT, Stage


async def opened(stage: Stage, *, signals: bool = False) -> tuple[str, str]:
    """A run and the request for its call."""
    agent = replace(AGENT, approval=replace(AGENT.approval, signal_channel=signals))
    run_id, request_id = await stage.asked(("pay", {"amount": 3}), agent=agent), new_id()
    await stage.decisions.open_call(stage.ref(run_id), request_id)
    return run_id, request_id
