"""What we send to a provider is what LiteLLM's own call sends."""

from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest

from taskforce.core.interfaces.llm import ChatMessage, ModelRefused, ModelRequest, RequestedCall
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm.chat_endpoint import OPENAI_WIRE, ChatEndpoints
from taskforce.infrastructure.llm.chat_format import wire_messages, wire_tools
from taskforce.infrastructure.llm.litellm_library import Json, LiteLLM
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.provider_errors import NotAnApiError
from tests.fixtures.wild_llm import WildLLM, words

TOOL = ToolSpec(
    "calculator",
    "Computes.",
    {"type": "object", "properties": {"expression": {"type": "string"}}, "additionalProperties": False},
)
MESSAGES = (
    ChatMessage("system", "Be brief."),
    ChatMessage("user", "Go."),
    ChatMessage("assistant", "", (RequestedCall("c1", "calculator", "{}"),)),
    ChatMessage("tool", "2", tool_call_id="c1"),
    ChatMessage("assistant", "Two."),
    ChatMessage("user", "Go on."),
)
MODELS = (
    *(f"{provider}/model-x" for provider in sorted(OPENAI_WIRE - {"openai_like", "azure"})),
    "azure/my-gpt",
    "azure/o3-mini",
    "openai/gpt-4o",
    "openai/gpt-5",
    "openai/o3-mini",
    "deepseek/deepseek-reasoner",
    "mistral/mistral-large-latest",
)
OURS = frozenset({"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"})
"""Headers of the connection."""
ATTRIBUTION = frozenset({"http-referer", "x-title", "x-pplx-integration"})
"""Headers by which LiteLLM names itself."""


@pytest.fixture
async def wild() -> AsyncIterator[WildLLM]:
    async with WildLLM() as server:
        server.says(words("fine"))
        yield server


@pytest.fixture
async def litellm(model: LiteLLMModel) -> LiteLLM:
    return (await model.open()).litellm


def told(headers: Mapping[str, str]) -> dict[str, str]:
    named = {name.lower(): value for name, value in headers.items()}
    left = {name for name in named if not name.startswith("x-stainless")} - OURS - ATTRIBUTION
    return {name: named[name] for name in left}


@pytest.mark.parametrize("name", MODELS)
async def test_is_what_litellm_sends(
    litellm: LiteLLM, wild: WildLLM, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    provider = name.partition("/")[0]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-provider")
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "sk-of-the-provider")
    monkeypatch.delenv("AZURE_OPENAI_API_KEY", raising=False)
    base = wild.root if provider == "azure" else wild.url
    options: Json = {
        "tools": wire_tools([TOOL]),
        "temperature": 0.5,
        "max_tokens": 99,
        "stream_options": {"include_usage": True},
    }
    request = ChatEndpoints(litellm, base).request(name, wire_messages(MESSAGES), options, frozenset())
    assert request is not None
    call = {**options, "model": name, "messages": wire_messages(MESSAGES), "api_base": base}
    settings = {"stream": True, "num_retries": 0, "max_retries": 0, "drop_params": True}
    stream = await litellm.acompletion(**call, **settings)
    assert stream is not None
    await stream.aclose()
    assert request.url == wild.root + wild.paths[0]
    assert told(request.headers) == told(wild.headers[0])
    assert request.body == wild.requests[0]


@pytest.mark.parametrize(
    "name",
    [
        "offline/demo",
        "anthropic/claude-haiku-4-5",
        "bedrock/amazon.nova",
        "gemini/gemini-2.5-pro",
        "openai/gpt-5-codex",
    ],
)
def test_what_speaks_otherwise_is_left_to_litellm(litellm: LiteLLM, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    options = {"tools": wire_tools([TOOL])}
    assert ChatEndpoints(litellm).request(name, wire_messages(MESSAGES), options, frozenset()) is None


@pytest.mark.parametrize("base", ["https://x.openai.azure.com/openai/v1", "https://x.example/openai/deployments/d"])
def test_addresses_of_azure_that_are_not_a_resource_are_left_to_litellm(
    litellm: LiteLLM, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.setenv("AZURE_API_KEY", "k")
    monkeypatch.setenv("AZURE_API_BASE", base)
    assert ChatEndpoints(litellm).request("azure/gpt", [], {}, frozenset()) is None


def test_the_tools_that_are_offered_stay_as_they_are(litellm: LiteLLM) -> None:
    """Some of LiteLLM's configurations edit schemas where they stand."""
    ChatEndpoints(litellm, "http://x/v1").request("hosted_vllm/m", [], {"tools": wire_tools([TOOL])}, frozenset())
    assert TOOL.parameters["additionalProperties"] is False


def test_a_server_without_a_key_is_asked_without_one(litellm: LiteLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_LIKE_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_LIKE_API_BASE", "http://here:8000/v1")
    request = ChatEndpoints(litellm).request("openai_like/m", [], {}, frozenset())
    assert request is not None
    assert request.url == "http://here:8000/v1/chat/completions"
    assert "Authorization" not in request.headers


@pytest.mark.parametrize("provider", sorted(OPENAI_WIRE - {"openai", "custom_openai", "azure"}))
def test_no_other_key_goes_to_openai(litellm: LiteLLM, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "sk-of-the-provider")
    monkeypatch.delenv(f"{provider.upper()}_API_BASE", raising=False)
    try:
        request = ChatEndpoints(litellm).request(f"{provider}/m", [], {}, frozenset())
    except NotAnApiError as unknown:
        assert f"set {provider.upper()}_API_BASE" in str(unknown)  # noqa: PT017
    else:
        assert request is not None
        assert "openai.com" not in request.url
        assert request.headers["Authorization"] == "Bearer sk-of-the-provider"


def test_openais_key_goes_to_openai_alone(litellm: LiteLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteLLM sends it to whoever has no key of their own."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_ORGANIZATION", "org")
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    monkeypatch.delenv("NVIDIA_NIM_API_KEY", raising=False)
    for model in ("groq/llama", "nvidia_nim/llama"):
        try:
            request = ChatEndpoints(litellm).request(model, [], {}, frozenset())
        except ModelRefused as refused:
            assert refused.code == "model_key_missing"  # noqa: PT017
        else:
            assert request is not None
            assert "sk-openai" not in str(request.headers)


async def test_the_account_is_named_where_it_is_set(
    model: LiteLLMModel, wild: WildLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("OPENAI_BASE_URL", wild.url)
    monkeypatch.setenv("OPENAI_ORGANIZATION", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    await model.complete(ModelRequest(("openai/gpt-4o",), (ChatMessage("user", "Go."),)), lambda _: None)
    sent = wild.headers[0]
    assert (sent["openai-organization"], sent["openai-project"]) == ("org-1", "proj-1")
    assert cast("str", wild.requests[0]["model"]) == "gpt-4o"
