from pathlib import Path

import pytest

from taskforce.core.domain.errors import Invalid, Missing
from taskforce.core.domain.metering.attribution import Attribution
from taskforce.core.domain.runs.reply_times import ReplyTimes
from taskforce.infrastructure.config.profiles import Profile, list_profiles, load_profile
from taskforce.infrastructure.config.sections import DEFAULT_SYSTEM_PROMPT
from tests.taskforce.infrastructure.config.places import CONFIGS


def written(directory: Path, content: str, environ: dict[str, str] | None = None) -> Profile:
    (directory / "mine.yaml").write_text(content)
    return load_profile("mine", directory, environ or {})


def refusal(directory: Path, content: str) -> str:
    with pytest.raises(Invalid) as caught:
        written(directory, content)
    assert caught.value.code == "profile_invalid"
    return caught.value.message


class TestTheProfilesOfTheProject:
    def test_are_listed(self) -> None:
        assert list_profiles(CONFIGS) == ("careful", "dev", "enterprise")

    @pytest.mark.parametrize("name", ["careful", "dev", "enterprise"])
    def test_have_no_unknown_keys(self, name: str) -> None:
        profile = load_profile(
            name, CONFIGS, {"DATABASE_URL": "postgresql://db/x", "AZURE_OPENAI_DEPLOYMENT": "gpt-4o"}
        )
        assert [problem for problem in profile.problems if "is not known" in problem] == []
        assert profile.profile == name

    def test_dev_lets_one_person_try_everything(self) -> None:
        profile = load_profile("dev", CONFIGS, {})
        assert profile.agent.id == "assistant"
        assert profile.limits().max_steps == 15
        assert profile.terms().self_approval
        assert profile.terms().signal_channel
        assert profile.models({}) == ("offline/demo",)

    def test_careful_asks_before_it_writes_or_sends(self) -> None:
        agent = load_profile("careful", CONFIGS, {}).definition(("offline/demo",))
        assert agent.agent_id == "careful-assistant"
        assert agent.require_approval == ("write_file", "http_post")
        assert agent.approval.expire_seconds == 24 * 3600
        assert agent.tools is None

    def test_enterprise_is_the_guides_with_stricter_approvals(self) -> None:
        profile = load_profile("enterprise", CONFIGS, {"AZURE_OPENAI_DEPLOYMENT": "gpt-4o"})
        agent = profile.definition(profile.models({}))
        assert agent.models == ("azure/gpt-4o",)
        assert (agent.temperature, agent.max_reply_tokens) == (0.5, 4096)
        assert not profile.terms().self_approval
        assert not profile.terms().signal_channel
        assert profile.terms().allowed_roles == ("admin",)
        assert profile.enterprise["multi_tenant"] is True


class TestModelsOfARequest:
    def test_are_those_that_the_profile_names(self, tmp_path: Path) -> None:
        profile = written(tmp_path, "agent: {model: vllm/a, fallbacks: [vllm/b]}\nllm: {provider: ollama, model: c}")
        for model in ("vllm/a", "vllm/b", "ollama/c"):
            assert profile.models({}, requested=model) == (model,)

    def test_are_no_others_without_a_key(self, tmp_path: Path) -> None:
        profile = written(tmp_path, "agent: {model: vllm/a}")
        with pytest.raises(Invalid) as caught:
            profile.models({}, requested="vllm/a, vllm/b")
        assert caught.value.code == "model_not_offered"


class TestTimesOfReplies:
    def test_are_of_all_models_and_of_single_ones(self, tmp_path: Path) -> None:
        limits = "{reply_seconds: 60, models: {'ollama/*': {first_token_seconds: 900}}}"
        profile = written(tmp_path, f"agent: {{limits: {limits}}}")
        assert profile.definition(("ollama/a", "openai/b")).reply_times == {
            "ollama/a": ReplyTimes(900, reply_seconds=60),
            "openai/b": ReplyTimes(reply_seconds=60),
        }
        assert written(tmp_path, "profile: mine").definition(("a/b",)).reply_times == {"a/b": ReplyTimes()}

    @pytest.mark.parametrize("times", ["{reply_second: 60}", "{reply_seconds: 0}", "60"])
    def test_a_wrong_one_of_a_model_is_refused(self, tmp_path: Path, times: str) -> None:
        assert "agent.limits.models.a/b" in refusal(tmp_path, f"agent: {{limits: {{models: {{a/b: {times}}}}}}}")


class TestMetadata:
    def test_names_to_whom_runs_are_charged(self, tmp_path: Path) -> None:
        profile = written(tmp_path, "agent: {metadata: {department: sales, cost_center: 4711, owner: [ada]}}")
        assert profile.problems == ()
        assert profile.definition(("m",)).attribution == Attribution("sales", "4711")

    def test_a_department_that_is_none_is_refused(self, tmp_path: Path) -> None:
        assert "agent.metadata" in refusal(tmp_path, "agent: {metadata: {department: [sales]}}")


class TestVariables:
    def test_come_from_the_environment_or_their_default(self, tmp_path: Path) -> None:
        profile = written(
            tmp_path, "agent: {name: 'I am ${NAME}', max_iterations: '${STEPS:-7}'}", {"NAME": "Ada", "STEPS": ""}
        )
        assert profile.agent.name == "I am Ada"
        assert profile.agent.max_iterations == 7

    def test_that_are_missing_stop_only_who_needs_the_section(self, tmp_path: Path) -> None:
        profile = written(tmp_path, "persistence: {connection_pool_size: '${POOL}'}\nllm: {model: '${MODEL}'}")
        assert len(profile.problems) == 2
        profile.require("agent")
        with pytest.raises(Invalid) as caught:
            profile.require("persistence")
        assert caught.value.code == "profile_invalid"
        assert all(part in caught.value.message for part in ("mine.yaml", "persistence.connection_pool_size", "POOL"))

    def test_that_are_missing_in_the_agent_stop_everybody(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, "agent: {model: '${MODEL}'}")
        assert "agent.model" in message
        assert "MODEL" in message

    def test_that_the_model_needs_matter_only_when_no_other_model_is_named(self, tmp_path: Path) -> None:
        profile = written(tmp_path, "llm: {provider: azure, deployment_name: '${DEPLOYMENT}'}")
        assert profile.models({"TASKFORCE_MODEL": "openai/a"}) == ("openai/a",)
        assert profile.models({"OPENAI_API_KEY": "sk-x"}, requested="openai/b") == ("openai/b",)
        with pytest.raises(Invalid, match="DEPLOYMENT"):
            profile.models({"OPENAI_API_KEY": "sk-x"})

    def test_never_show_their_value_in_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("agent: {max_iterations: '${OPENAI_API_KEY}'}")
        with pytest.raises(Invalid) as caught:
            load_profile("mine", tmp_path, {"OPENAI_API_KEY": "hunter2-hunter2"})
        assert "hunter2" not in f"{caught.value.message} {caught.value.details} {caught.value.__context__!r}"


class TestMistakes:
    def test_a_typo_is_reported_with_what_was_meant(self, tmp_path: Path) -> None:
        profile = written(tmp_path, "agent: {max_iteration: 3, limits: {max_token: 5}}\naproval: {}\nmine: {x: 1}")
        told = " ".join(profile.problems)
        assert "agent.max_iteration is not known" in told
        assert "mean max_iterations" in told
        assert "agent.limits.max_token is" in told

    def test_a_whole_section_of_somebody_else_is_kept_without_a_word(self, tmp_path: Path) -> None:
        profile = written(tmp_path, "billing: {plan: gold}")
        assert profile.problems == ()
        assert profile.model_extra == {"billing": {"plan": "gold"}}

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            ("agent: {max_iterations: 0}", "agent.max_iterations"),
            ("agent: {planning_strategy: magic}", "agent.planning_strategy"),
            ("agent: {tools: calculator}", "agent.tools"),
            ("agent: {id: '../x'}", "agent.id"),
            ("approvals: {expire_hours: .inf}", "approvals.expire_hours"),
            ("approvals: {allowed_roles: []}", "approvals.allowed_roles"),
            ("agent: [1]", "agent"),
            ("- a\n- b", "mapping"),
            ("", "mapping"),
            ("a: {b", "line"),
            ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ],
    )
    def test_a_wrong_shape_names_file_and_key(self, tmp_path: Path, content: str, named: str) -> None:
        message = refusal(tmp_path, content)
        assert "mine.yaml" in message
        assert named in message

    @pytest.mark.parametrize("name", ["nobody", "../dev", "dev.yaml", "", "DEV", "a/b", "..", "dev\n"])
    def test_a_name_that_is_no_profile_is_not_found(self, name: str) -> None:
        with pytest.raises(Missing) as caught:
            load_profile(name, CONFIGS, {})
        assert caught.value.code == "profile_not_found"

    def test_what_loading_finds_out_cannot_be_set_by_the_file(self, tmp_path: Path) -> None:
        profile = written(tmp_path, "problems: [none]\nmissing: []\nfile: x")
        assert profile.file == "mine.yaml"
        assert profile.problems == ()


def test_an_empty_section_means_its_defaults(tmp_path: Path) -> None:
    profile = written(tmp_path, "agent:\napprovals:\nllm:")
    assert profile.agent.system_prompt == DEFAULT_SYSTEM_PROMPT
    assert profile.terms().allowed_roles == ("admin",)


def test_a_profile_cannot_be_changed() -> None:
    profile = load_profile("dev", CONFIGS, {})
    with pytest.raises(ValueError, match="frozen"):
        profile.agent.max_iterations = 99  # type: ignore[misc]
