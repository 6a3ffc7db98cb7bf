"""Tools that a definition gates, in runs on real parts."""

import pytest

from taskforce.application.approvals.definitions import create_definition
from taskforce.application.identity.principals import Actor, load_principal
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.runs.transcript import CallStatus
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls
from tests.workflows.approvals import yes

pytestmark = pytest.mark.usefixtures("worker")


async def test_a_file_is_written_once_a_person_has_approved_it(missions: Missions, scripted: ScriptedLLM) -> None:
    await missions.person("bob", "librarian")
    await missions.person("ada", "admin")
    rules, at = AccessRules(), now()
    async with missions.database.tenant(missions.tenant_id) as records:
        ada = Actor(await load_principal(records, "ada", rules, at), rules, None, at)
    files = {
        "workflow_id": "files",
        "name": "Files",
        "request_type": "tool_call",
        "tools": ["write_file"],
        "allowed_approver_roles": ["librarian"],
    }
    await create_definition(missions.database, ada, DefinitionRules(), files)
    write = [("write_file", {"path": "a.txt", "content": "x"})]
    scripted.script([tool_calls(write), text("Done.")])
    run_id = await missions.start()
    await missions.event(run_id, "approval.requested")
    [pending] = await missions.pending()
    assert (pending.definition_id, pending.resource_id) == ("files", "write_file")
    assert await missions.observations(run_id) == []
    await missions.workflow_client.approvals.decide(missions.tenant_id, pending.approval.request_id, yes())
    await missions.ended(run_id)
    [written] = await missions.observations(run_id)
    assert written.status is CallStatus.SUCCEEDED
