"""Approval definitions of a profile (guide 9.2, `workflow_config`)."""

from pathlib import Path

import pytest

from taskforce.application.approvals.payload_schemas import schema_problems
from taskforce.core.domain.approvals.definitions import DefinitionRules, Source
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.config.approvals import definition_rules, excerpt_rules
from taskforce.infrastructure.config.profiles import load_profile
from taskforce.infrastructure.config.settings import Settings
from tests.taskforce.infrastructure.config.places import CONFIGS

TWO = """
approvals: {signal_channel: true}
workflow_config:
  webhooks:
    on_request_created: {url: "https://your-app.com/webhooks/approval-created", secret: "${SECRET:-webhook-secret-key}"}
  workflows:
    - workflow_id: strict-publish
      name: Strict Agent Publishing
      request_type: agent_publish
      required_approvers: 2
      allowed_approver_roles: [admin, agent_designer]
      auto_expire_hours: 48
    - workflow_id: pay
      name: Payments
      request_type: tool_call
      tools: [pay]
      allowed_approvers: ["${TREASURER}"]
      signal_channel: true
"""


def rules(directory: Path, content: str, **environ: str) -> DefinitionRules:
    (directory / "mine.yaml").write_text(content)
    return definition_rules(load_profile("mine", directory, environ), schema_problems)


def problems(directory: Path, content: str) -> list[str]:
    with pytest.raises(Invalid) as refused:
        rules(directory, content)
    assert refused.value.code == "profile_invalid"
    found = refused.value.details["problems"]
    assert isinstance(found, list)
    return found


def test_a_profile_gives_definitions_in_the_words_of_the_api(tmp_path: Path) -> None:
    found = rules(tmp_path, TWO, TREASURER="u-17")
    assert found.signals
    strict, pay = found.definitions
    assert [(one.definition_id, one.source, one.version) for one in found.definitions] == [
        ("strict-publish", Source.PROFILE, 0),
        ("pay", Source.PROFILE, 0),
    ]
    assert strict.terms == Terms(2, allowed_roles=("admin", "agent_designer"), expire_seconds=48 * 3_600)
    assert pay.tools == ("pay",)
    assert pay.terms == Terms(allowed_roles=(), allowed_people=("u-17",), signal_channel=True)


@pytest.mark.parametrize("name", ["careful", "dev", "enterprise"])
def test_the_projects_profiles_have_none_of_their_own(name: str) -> None:
    profile = load_profile(name, CONFIGS, {})
    assert definition_rules(profile, schema_problems) == DefinitionRules((), profile.approvals.signal_channel)


def test_everything_that_is_wrong_is_named_with_its_place(tmp_path: Path) -> None:
    found = problems(tmp_path, TWO.replace("signal_channel: true}", "signal_channel: false}") + "      colour: red\n")
    place = "mine.yaml: workflow_config.workflows.1"
    assert found == [
        f"{place}.allowed_approvers.0 needs the environment variable TREASURER, which is not set.",
        f"{place}.colour: is not known.",
        f"{place}.signal_channel: is not for this deployment: its profile does not allow it (approvals).",
        f"{place}.allowed_approvers[0]: must be a text of 1 to 256 characters.",
    ]


@pytest.mark.parametrize("content", ["workflow_config: '${ALL}'", "workflow_config: {workflows: '${ALL}'}"])
def test_what_a_variable_lacks_is_never_no_definition_at_all(tmp_path: Path, content: str) -> None:
    assert "ALL" in problems(tmp_path, content)[0]


def test_two_of_one_id_are_an_error(tmp_path: Path) -> None:
    one = "{workflow_id: a, name: A, request_type: data_export}"
    assert problems(tmp_path, f"workflow_config: {{workflows: [{one}, {one}]}}") == [
        "mine.yaml: workflow_config.workflows.1.workflow_id is that of another definition."
    ]


@pytest.mark.parametrize("section", ["{workflow: []}", "{workflows: {}}", "{workflows: [strict]}", "[]"])
def test_a_section_that_is_none_stops_the_profile(tmp_path: Path, section: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"workflow_config: {section}")
    with pytest.raises(Invalid) as refused:
        load_profile("mine", tmp_path, {})
    assert refused.value.code == "profile_invalid"
    assert "workflow_config" in refused.value.message


def test_without_a_section_there_are_none(tmp_path: Path) -> None:
    for content in ("agent: {id: x}", "workflow_config:", "workflow_config: {workflows: }"):
        assert rules(tmp_path, content).definitions == ()


def test_what_temporal_shows_is_said_by_the_profile_and_the_gateways_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFORCE_URL", "https://gateway.example/")
    settings = Settings.from_env()
    shown = excerpt_rules(settings, load_profile("dev", CONFIGS, {}), ["secret-of-ours"])
    assert (shown.shown, shown.gateway_url, shown.secrets) == (True, "https://gateway.example", ("secret-of-ours",))
    assert "secret-of-ours" not in repr(shown)
    monkeypatch.delenv("TASKFORCE_URL")
    enterprise = excerpt_rules(Settings.from_env(), load_profile("enterprise", CONFIGS, {}), [])
    assert (enterprise.shown, enterprise.gateway_url) == (False, "")
