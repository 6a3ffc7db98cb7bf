import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.llm.model_selection import (
    choose_models,
    key_variable,
    known_secrets,
    litellm_variables,
    require_offered,
)


class TestTheModelOfARun:
    def test_is_the_one_named_nearest_to_it(self) -> None:
        environ = {"TASKFORCE_MODEL": "openai/c", "OPENAI_API_KEY": "sk-x"}
        everything = {"requested": "openai/a", "agent": ("openai/b", "openai/b2"), "profile_llm": "azure/p"}
        assert choose_models(environ, **everything) == ("openai/a",)  # type: ignore[arg-type]
        assert choose_models(environ, agent=("openai/b", "openai/b2"), profile_llm="azure/p") == (
            "openai/b",
            "openai/b2",
        )
        assert choose_models(environ, profile_llm="azure/p") == ("azure/p",)
        assert choose_models(environ) == ("openai/c",)

    def test_may_be_a_list_of_fallbacks(self) -> None:
        assert choose_models({"TASKFORCE_MODEL": " openai/a, ,azure/b "}) == ("openai/a", "azure/b")

    @pytest.mark.parametrize(
        ("environ", "model"),
        [
            ({}, "offline/demo"),
            ({"OPENAI_API_KEY": ""}, "offline/demo"),
            ({"OPENAI_API_KEY": "sk-x"}, "openai/gpt-4o-mini"),
            ({"ANTHROPIC_API_KEY": "sk-x"}, "anthropic/claude-haiku-4-5"),
            ({"AZURE_OPENAI_DEPLOYMENT": "mine", "OPENAI_API_KEY": "sk-x"}, "azure/mine"),
            ({"TASKFORCE_MODEL": " , "}, "offline/demo"),
        ],
    )
    def test_follows_from_the_keys_when_none_is_named(self, environ: dict[str, str], model: str) -> None:
        assert choose_models(environ) == (model,)


@pytest.mark.parametrize(
    "requested", ["oobabooga/http://10.0.0.1/", "a b", "-x/y", "openai/a\nb", "x" * 300, ",".join("abcdef")]
)
def test_a_request_cannot_name_what_is_no_model(requested: str) -> None:
    with pytest.raises(Invalid) as caught:
        choose_models({}, requested=requested)
    assert caught.value.code == "model_name_invalid"


@pytest.mark.parametrize("requested", ["azure/gpt-4o", "bedrock/anthropic.claude-v2:1", "openrouter/meta/llama-3.1-8b"])
def test_a_request_may_name_any_model(requested: str) -> None:
    assert choose_models({}, requested=requested) == (requested,)


class TestAModelOfARequest:
    @pytest.mark.parametrize(
        ("environ", "requested"),
        [
            ({}, "offline/demo"),
            ({"TASKFORCE_MODEL": "ollama/a, vllm/b"}, "vllm/b"),
            ({"OPENAI_API_KEY": "sk-x"}, "openai/gpt-4o"),
            ({"AZURE_OPENAI_API_KEY": "k"}, "azure/mine"),
            ({"AZURE_API_KEY": "k"}, "azure/mine"),
            ({"AZURE_OPENAI_DEPLOYMENT": "mine"}, "azure/mine"),
            ({"AZURE_AI_API_KEY": "k"}, "azure_ai/mine"),
            ({"TASKFORCE_MODELS": "openai/gpt-*, lm_studio/*"}, "lm_studio/local"),
            ({"TASKFORCE_MODELS": "openai/gpt-*", "TASKFORCE_MODEL": "vllm/b"}, "vllm/b"),
            ({"TASKFORCE_MODELS": "openai/gpt-*"}, "offline/demo"),
            ({"TASKFORCE_MODELS": "", "OPENAI_API_KEY": "sk-x"}, "openai/gpt-4o"),
        ],
    )
    def test_is_one_that_the_deployment_offers(self, environ: dict[str, str], requested: str) -> None:
        require_offered(environ, [requested])

    @pytest.mark.parametrize(
        ("environ", "requested", "remedy"),
        [
            ({}, "llamafile/x", "LLAMAFILE_API_KEY"),
            ({"OPENAI_API_KEY": "sk-x"}, "lm_studio/x", "LM_STUDIO_API_KEY"),
            ({"OPENAI_API_KEY": ""}, "openai/gpt-4o", "OPENAI_API_KEY"),
            ({"OPENAI_API_KEY": "sk-x"}, "azure/mine", "AZURE_OPENAI_API_KEY"),
            ({"OPENAI_API_KEY": "sk-x"}, "openai", "TASKFORCE_MODELS"),
            ({"TASKFORCE_MODELS": "openai/*", "AZURE_API_KEY": "k"}, "azure/mine", "TASKFORCE_MODELS"),
            ({"TASKFORCE_MODELS": ",", "ANTHROPIC_API_KEY": "k"}, "anthropic/claude-opus-4-1", "TASKFORCE_MODELS"),
        ],
    )
    def test_is_refused_otherwise_with_what_to_set(self, environ: dict[str, str], requested: str, remedy: str) -> None:
        with pytest.raises(Invalid) as caught:
            require_offered(environ, ["offline/demo", requested])
        assert caught.value.code == "model_not_offered"
        assert requested in caught.value.message
        assert remedy in caught.value.message
        assert "TASKFORCE_MODELS" in caught.value.message

    def test_may_be_one_that_the_agent_names(self) -> None:
        require_offered({}, ["vllm/a"], named=["vllm/a"])


def test_the_guides_azure_names_become_litellms() -> None:
    environ = {
        "AZURE_OPENAI_API_KEY": "k",
        "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com",
        "OPENAI_API_VERSION": "2024-10-21",
    }
    assert litellm_variables(environ) == {
        "AZURE_API_KEY": "k",
        "AZURE_API_BASE": "https://x.openai.azure.com",
        "AZURE_API_VERSION": "2024-10-21",
    }


def test_litellms_own_names_are_left_alone() -> None:
    assert litellm_variables({"AZURE_OPENAI_API_KEY": "ours", "AZURE_API_KEY": "theirs"}) == {}


def test_secrets_are_known_by_the_names_of_their_variables() -> None:
    environ = {"A_KEY": "1", "B_TOKEN": "2", "C_SECRET": "3", "PGPASSWORD": "4", "HOME": "5", "EMPTY_KEY": ""}
    environ["PASTED_KEY"] = " 6\n"
    assert known_secrets(environ) == ("1", "2", "3", "4", "6")


def test_the_variable_of_a_key() -> None:
    assert key_variable("openai/gpt-4o") == "OPENAI_API_KEY"
    assert key_variable("azure/mine") == "AZURE_OPENAI_API_KEY"


def test_a_credential_among_headers_is_a_secret_and_a_tenants_name_is_none() -> None:
    headers = "Authorization=Bearer%20abc123,x-api-key=def456 , X-Scope-OrgID=acme"
    assert known_secrets({"OTEL_EXPORTER_OTLP_HEADERS": headers}) == ("abc123", "def456")
