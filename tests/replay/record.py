"""Plays every scene on servers of its own and records the histories: `make histories [ARGS="name ..."]`.

Only what has no history yet is recorded, or what is named: a history is never recorded again to make a change pass,
see docs/decisions/0004-histories.md.
"""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from activities.tenant_shares import CallLimits
from taskforce.core.domain.approvals.approval import workflow_id as approval_workflow_id
from taskforce.core.domain.ids import effect_id
from taskforce.core.domain.runs.run import workflow_id as run_workflow_id
from taskforce.core.domain.tenants.deletion import workflow_id as deletion_workflow_id
from taskforce.core.domain.webhooks.delivery import workflow_id as delivery_workflow_id
from tests.chaos.private_stack import OwnServers, worker_parts
from tests.fixtures import probe_tools
from tests.fixtures.missions import SUBJECTS, Missions
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.fixtures.stack import PROOF_KEY
from tests.fixtures.webhook_receivers import Receiver, receiving
from tests.replay.delivery_scenes import DELIVERIES, Post
from tests.replay.history_files import HISTORIES, chain, readable, save
from tests.replay.rollup_scenes import ROLLUPS
from tests.replay.scene_runner import MODEL_CALLS, TOOL_CALLS
from tests.replay.scenes import SCENES, Scene, Stage
from worker import build_worker
from workflows.client.client import WorkflowClient
from workflows.client.connection import TemporalAddress, connect

TENANT = "acme-corp"
TASK_QUEUE = "recorded"
# A few steps to a part, so that runs that continue as new stay small.
SETTINGS = {"limit.historyCount.suggestContinueAsNew": "50"}


async def main(names: Sequence[str]) -> None:
    """Records the scenes that are named, else those that have no history."""
    wanted = [scene for scene in SCENES if _wanted(scene, names)]
    os.environ.setdefault("OPENAI_API_KEY", "unused")
    with tempfile.TemporaryDirectory(prefix="tf-record-") as home:
        async with OwnServers(Path(home), SETTINGS) as servers, ScriptedLLM() as llm, receiving() as receiver:
            client = await connect(TemporalAddress(servers.temporal.address, task_queue=TASK_QUEUE))
            allowed = (receiver.place,)
            async with worker_parts(servers.app_url, llm.url, probe_tools.TOOLS, allowed=allowed) as made:
                limits = CallLimits(model_calls=MODEL_CALLS, tool_calls=TOOL_CALLS, retry_seconds=1)
                parts = replace(made, handlers=SUBJECTS, limits=limits)
                missions = Missions(parts.database, WorkflowClient(client, TASK_QUEUE, PROOF_KEY), TENANT)
                async with build_worker(client, TASK_QUEUE, parts):
                    stage = Stage(missions, llm, client, servers)
                    await _record(wanted, names, stage)
                    await _record_deliveries(names, stage, receiver)
                    await _record_rollups(names, stage)


def _wanted(scene: Scene, names: Sequence[str]) -> bool:
    kept = {"AgentRun": scene.run, "Approval": scene.approval, "TenantDeletion": scene.deletion}
    return any(_lacks(workflow, name, names) for workflow, name in kept.items())


def _lacks(workflow: str, name: str | None, names: Sequence[str]) -> bool:
    if name is None or names:
        return name in names
    return not list((HISTORIES / workflow).glob(f"{name}*.json"))


async def _record(scenes: Sequence[Scene], names: Sequence[str], stage: Stage) -> None:
    await stage.missions.person("bob", "admin")
    await stage.missions.person("carol", "admin")
    for scene in scenes:
        run_id = tenant_id = await scene.play(stage)
        if scene.run and _lacks("AgentRun", scene.run, names):
            await _save(stage, "AgentRun", scene.run, run_workflow_id(TENANT, run_id))
        if scene.approval and _lacks("Approval", scene.approval, names):
            request_id = run_id if scene.alone else effect_id(run_id, 1, 1)
            await _save(stage, "Approval", scene.approval, approval_workflow_id(TENANT, request_id))
        if scene.deletion and _lacks("TenantDeletion", scene.deletion, names):
            await _save(stage, "TenantDeletion", scene.deletion, deletion_workflow_id(tenant_id))


async def _record_deliveries(names: Sequence[str], stage: Stage, receiver: Receiver) -> None:
    for name, play in DELIVERIES.items():
        if _lacks("WebhookDelivery", name, names):
            delivery_id = await play(Post(stage, receiver))
            # A delivery whose webhook was disabled sleeps on until its next attempt would be.
            await _save(stage, "WebhookDelivery", name, delivery_workflow_id(TENANT, delivery_id))


async def _record_rollups(names: Sequence[str], stage: Stage) -> None:
    for name, play in ROLLUPS.items():
        if _lacks("UsageRollup", name, names):
            await _save(stage, "UsageRollup", name, await play(stage))


async def _save(stage: Stage, workflow: str, name: str, workflow_id: str) -> None:
    await stage.closes(workflow_id)
    parts = [part async for part in chain(stage.temporal, workflow_id)]
    for number, history in enumerate(parts, start=1):
        path = save(workflow, name if len(parts) == 1 else f"{name}-{number}", history)
        if socket.gethostname() in readable(path):
            raise RuntimeError(f"{path} names this machine; it must be scrubbed before it is kept.")
        sys.stdout.write(f"{path.relative_to(HISTORIES)}: {len(history.events)} events\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
    sys.stdout.flush()
    # The Temporal SDK sometimes aborts the interpreter at exit, after all work is done.
    os._exit(0)
