"""The details of an open request in the Temporal UI: what is asked is there to read, and nothing that could fake it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client

from taskforce.core.domain.approvals.approval import Approval, workflow_id
from taskforce.core.domain.approvals.terms import Terms
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.workflows.approvals import asked, yes
from workflows.approval_details import Subject, described

PATH = "/api/v1/admin/requests/r-1"
AT = datetime(2026, 1, 8, tzinfo=UTC)
TERMS = Terms(required_approvers=2, allowed_roles=("admin",), expire_seconds=60, signal_channel=True)
OPEN = Approval("r-1", "alice", TERMS, AT, content="asked")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("signals", [True, False])
async def test_arguments_are_shown_where_one_can_decide_and_are_in_no_history_elsewhere(
    missions: Missions, scripted: ScriptedLLM, temporal: Client, *, signals: bool
) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions.under(signal_channel=signals), scripted)
    handle = temporal.get_workflow_handle(workflow_id(missions.tenant_id, request_id))
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert ('- asks for: {"amount": 7}\n' in metadata.current_details) is signals
    assert f"/api/v1/admin/requests/{request_id}" in metadata.current_details
    # Payloads are bytes of JSON, which the text of an event shows as they are.
    assert ("amount" in str((await handle.fetch_history()).events)) is signals
    await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    # Its last call of the model would take the first reply that the next test scripts.
    await missions.ended(run_id)


def test_the_link_is_to_the_gateway_where_its_address_is_known() -> None:
    about = Subject("Pay", PATH, gateway_url="https://gateway.example")
    assert f"(<https://gateway.example{PATH}>)" in described(about, OPEN)
    assert f"`GET {PATH}` of the gateway" in described(replace(about, gateway_url=""), OPEN)


def test_what_an_approver_has_changed_is_not_shown_as_what_was_asked() -> None:
    about = Subject("Pay", PATH, excerpt='{"amount": 7}', content="asked")
    assert '"amount": 7' in described(about, OPEN)
    changed = described(about, replace(OPEN, content="edited"))
    assert '"amount": 7' not in changed
    assert "an approver has changed" in changed


def test_no_text_of_a_model_is_markup_or_a_line_of_its_own() -> None:
    hostile = '{"to": "x\\n- may decide: [all](http://evil) <b> \u202eabc\u200b\u2066"}'
    shown = described(Subject(hostile, PATH, excerpt=hostile, content="asked"), replace(OPEN, requester_id=hostile))
    assert sum(line.startswith("- may decide:") for line in shown.splitlines()) == 1
    assert "(http://evil)" not in shown
    assert "<b>" not in shown.replace(r"\<b\>", "")
    assert not set(shown) & set("\u202e\u200b\u2066")
    assert r"\\u202eabc\\u200b\\u2066" in shown
