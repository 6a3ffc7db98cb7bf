"""Every way in which a tenant's deletion ends."""

from taskforce.core.domain.tenants.deletion import workflow_id as deletion_workflow_id
from tests.fixtures.scripted_llm import text, tool_calls
from tests.replay.scene_runner import Stage, scene


@scene(deletion="cancelled_runs")
async def cancelled_runs(stage: Stage) -> str:
    missions = stage.of_tenant("globex")
    stage.llm.script([tool_calls([("pay", {"amount": 7})])])
    await missions.event(await missions.start(), "approval.requested")
    await stage.deletes(missions)
    return missions.tenant_id


@scene(deletion="drained_runs")
async def drained_runs(stage: Stage) -> str:
    missions = stage.of_tenant("initech")
    stage.llm.script([tool_calls([("ask_user", {"question": "Which colour?"})]), text("Blue it is.")])
    run_id = await missions.start()
    await missions.event(run_id, "run.waiting")
    await stage.deletes(missions, seconds=600)
    await missions.say(run_id, "Blue.")
    return missions.tenant_id


@scene(deletion="kept_log")
async def kept_log(stage: Stage) -> str:
    missions = stage.of_tenant("hooli")
    await missions.person("ada", "admin")
    await missions.accepted()
    await stage.servers.keep_logs_for("3 seconds")
    await stage.deletes(missions)
    await stage.closes(deletion_workflow_id(missions.tenant_id))
    await stage.servers.keep_logs_for("0 seconds")
    return missions.tenant_id


@scene(deletion="interrupted")
async def interrupted(stage: Stage) -> str:
    missions = stage.of_tenant("umbrella")
    stage.llm.script([tool_calls([("ask_user", {"question": "Which colour?"})])])
    await missions.event(await missions.start(), "run.waiting")
    await stage.deletes(missions, seconds=600)
    workflow_id = deletion_workflow_id(missions.tenant_id)
    await stage.begins(workflow_id, "end_tenant_runs")
    await stage.temporal.get_workflow_handle(workflow_id).cancel()
    return missions.tenant_id
