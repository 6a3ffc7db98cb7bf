"""Which agents a request may name."""

from pathlib import Path

import pytest

from taskforce.core.domain.catalog.definition import instructions_of
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.runs.reply_times import ReplyTimes
from taskforce.core.domain.runs.run import Pinned
from taskforce.core.domain.runs.selection import AgentSelector, ResolvedVersion
from taskforce.infrastructure.config.settings import REPOSITORY
from taskforce.infrastructure.profile_agents import ProfileAgents
from tests.fixtures.agents import GOOD

CONFIGS = REPOSITORY / "configs"
AZURE = {"AZURE_OPENAI_DEPLOYMENT": "gpt-4o"}


def refusal(agents: ProfileAgents, asked: AgentSelector) -> Missing:
    with pytest.raises(Missing) as caught:
        agents.choose(asked)
    return caught.value


def test_in_development_every_profile_is_offered_with_its_own_terms() -> None:
    chosen = ProfileAgents(CONFIGS, "enterprise", AZURE, development=True).choose(AgentSelector(profile="careful"))
    assert chosen.profile == "careful"
    assert chosen.agent.approval.self_approval
    assert chosen.agent.approval.signal_channel


def test_elsewhere_only_the_deployments_own_is() -> None:
    agents = ProfileAgents(CONFIGS, "enterprise", AZURE)
    assert agents.choose(AgentSelector()).profile == "enterprise"
    assert agents.choose(AgentSelector(profile="enterprise")).profile == "enterprise"
    refused, nobodys = (refusal(agents, AgentSelector(profile=name)) for name in ("careful", "nobody"))
    assert (refused.code, refused.message) == (nobodys.code, nobodys.message)
    assert refused.code == "profile_not_found"
    assert "careful" not in refused.message


def test_an_agent_of_a_profile_that_is_not_offered_is_not_found() -> None:
    agents = ProfileAgents(CONFIGS, "enterprise", AZURE)
    assert refusal(agents, AgentSelector(agent_id="careful-assistant")).code == "agent_not_found"
    assert agents.choose(AgentSelector(agent_id="assistant")).profile == "enterprise"


def test_a_deployment_says_what_else_it_offers() -> None:
    agents = ProfileAgents(CONFIGS, "enterprise", AZURE, offered=("careful",))
    assert agents.choose(AgentSelector(agent_id="careful-assistant")).profile == "careful"
    assert agents.choose(AgentSelector(profile="careful")).profile == "careful"
    assert refusal(agents, AgentSelector(profile="dev")).code == "profile_not_found"


def test_what_is_said_counts_in_development_too() -> None:
    agents = ProfileAgents(CONFIGS, "dev", {}, offered=(), development=True)
    assert refusal(agents, AgentSelector(profile="careful")).code == "profile_not_found"
    assert agents.choose(AgentSelector()).profile == "dev"


def test_outside_development_nobody_chooses_to_approve_by_himself() -> None:
    chosen = ProfileAgents(CONFIGS, "enterprise", AZURE, offered=("careful",)).choose(AgentSelector(profile="careful"))
    assert not chosen.agent.approval.self_approval
    assert not chosen.agent.approval.signal_channel
    assert chosen.agent.approval.allowed_roles == ("admin", "operator")


@pytest.mark.parametrize(("self_approval", "signal_channel"), [(True, False), (False, True), (True, True)])
def test_what_the_deployments_own_profile_grants_counts(
    tmp_path: Path, self_approval: bool, signal_channel: bool
) -> None:
    terms = f"{{self_approval: {self_approval}, signal_channel: {signal_channel}}}".lower()
    (tmp_path / "own.yaml").write_text(f"approvals: {terms}")
    (tmp_path / "lenient.yaml").write_text("approvals: {self_approval: true, signal_channel: true}")
    (tmp_path / "strict.yaml").write_text("agent: {id: strict}")
    agents = ProfileAgents(tmp_path, "own", {}, offered=("lenient", "strict"))
    lenient = agents.choose(AgentSelector(profile="lenient")).agent.approval
    assert (lenient.self_approval, lenient.signal_channel) == (self_approval, signal_channel)
    strict = agents.choose(AgentSelector(profile="strict")).agent.approval
    assert (strict.self_approval, strict.signal_channel) == (False, False)


def test_an_offered_profile_that_went_away_is_not_found(tmp_path: Path) -> None:
    for name in ("own", "other", "secret"):
        (tmp_path / f"{name}.yaml").write_text(f"agent: {{id: {name}}}")
    agents = ProfileAgents(tmp_path, "own", {}, offered=("other",))
    assert agents.choose(AgentSelector(profile="other")).agent.agent_id == "other"
    (tmp_path / "other.yaml").unlink()
    refused = refusal(agents, AgentSelector(profile="other"))
    assert refused.code == "profile_not_found"
    assert "secret" not in refused.message


def test_a_version_sets_the_times_of_its_replies_as_far_as_the_deployment_lets_it(tmp_path: Path) -> None:
    limits = "{between_tokens_seconds: 20, models: {b/*: {between_tokens_seconds: 40}}}"
    (tmp_path / "own.yaml").write_text(f"agent: {{limits: {limits}}}\nllm: {{max_reply_seconds: 100}}")
    asked = {"reply_seconds": 60, "models": {"b/d": {"first_token_seconds": 900}}}
    version = {**GOOD, "model": "a/c", "fallbacks": ["b/d"], "limits": asked}
    pinned = Pinned(new_id(), "1.0.0", "0" * 64, "writer")
    found = ResolvedVersion(new_id(), "Writer", pinned, instructions_of(version))
    agent = ProfileAgents(tmp_path, "own", {}).pinned(AgentSelector(), found).agent
    assert agent.reply_times == {"a/c": ReplyTimes(300, 20, 60), "b/d": ReplyTimes(100, 40, 60)}
