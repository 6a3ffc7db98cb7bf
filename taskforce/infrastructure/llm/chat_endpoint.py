"""Requests to chat endpoints that speak the OpenAI wire format, by LiteLLM's provider configurations.

LiteLLM names URL, headers and parameters; the request is sent, and the reply read, by `openai_wire`. Who is not listed
here is asked by LiteLLM itself.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from taskforce.core.interfaces.llm import ModelRefused
from taskforce.infrastructure.llm.litellm_library import ChatConfig, Json, LiteLLM
from taskforce.infrastructure.llm.model_selection import key_variable
from taskforce.infrastructure.llm.openai_wire import WireRequest
from taskforce.infrastructure.llm.provider_errors import NotAnApiError
from taskforce.infrastructure.llm.refused_options import without

OPENAI_WIRE = frozenset(
    {
        "azure",
        "baseten",
        "cerebras",
        "codestral",
        "custom_openai",
        "dashscope",
        "deepinfra",
        "deepseek",
        "featherless_ai",
        "fireworks_ai",
        "friendliai",
        "github",
        "groq",
        "hosted_vllm",
        "hyperbolic",
        "litellm_proxy",
        "llamafile",
        "lm_studio",
        "minimax",
        "mistral",
        "modelscope",
        "moonshot",
        "nebius",
        "novita",
        "nscale",
        "nvidia_nim",
        "openai",
        "openai_like",
        "openrouter",
        "perplexity",
        "poe",
        "qwencloud",
        "sambanova",
        "tencent",
        "together_ai",
        "volcengine",
        "wandb",
        "xai",
        "xiaomi_mimo",
        "zai",
    }
)
"""LiteLLM's providers whose endpoint speaks the OpenAI wire format; a test compares each with LiteLLM's own call."""

_OPENAI = ("openai", "custom_openai")
_OPENAI_HOST = "api.openai.com"
_OPENAI_BASE = f"https://{_OPENAI_HOST}/v1"
_BASES = {"openrouter": "https://openrouter.ai/api/v1"}
"""Base URLs that LiteLLM does not keep with the provider's configuration."""
_ACCOUNT_HEADERS = (("OPENAI_ORGANIZATION", "OpenAI-Organization"), ("OPENAI_PROJECT_ID", "OpenAI-Project"))
_MOST_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Place:
    """Identifies a model at its provider.

    Attributes:
        model: The model as its provider names it.
        provider: LiteLLM's name of the provider.
        config: What LiteLLM knows of it.
        base: The base URL.
        key: The API key; None where the provider needs none, or none is set.
    """

    model: str
    provider: str
    config: ChatConfig
    base: str | None
    key: str | None


class ChatEndpoints:
    """Builds requests for the models that speak the OpenAI wire format.

    Args:
        litellm: The library.
        api_base: Base URL for every model; None leaves it to the provider's own variable.
        environ: The process's environment.
    """

    def __init__(self, litellm: LiteLLM, api_base: str | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._litellm = litellm
        self._api_base = api_base
        self._environ = environ
        self._by_responses: dict[tuple[str, bool], bool] = {}
        self._streamed: dict[str, bool] = {}

    def request(
        self, model: str, messages: list[Json], options: Mapping[str, object], refused: frozenset[str]
    ) -> WireRequest | None:
        """Builds the request for a model.

        Args:
            model: Its LiteLLM name.
            messages: The conversation.
            options: `tools`, `temperature`, `max_tokens`, `stream_options`, where they are asked for; what LiteLLM
                knows the model not to take is left out.
            refused: Options that the model has refused.

        Returns:
            The request, or None where LiteLLM has to make the call.

        Raises:
            ModelRefused: `model_key_missing` or `model_key_invalid`.
            NotAnApiError: No base URL is known.
        """
        place = self._place(model, bool(options.get("tools")))
        if place is None:
            return None
        key = self._sound_key(model, place)
        messages = [{name: value for name, value in one.items() if value is not None} for one in messages]
        known = place.config.get_supported_openai_params(place.model)
        # LiteLLM's configurations change what they are given, and the next model of the chain gets it too.
        asked = {name: copy.deepcopy(value) for name, value in options.items() if name in known}
        mapped = place.config.map_openai_params(asked, {}, place.model, True)
        settings: Json = {"custom_llm_provider": place.provider, "api_base": place.base}
        if place.provider == "azure":
            url, headers = self._azure(place), {"api-key": key or ""}
        else:
            config = place.config
            headers = config.validate_environment({}, place.model, messages, mapped, settings, key, place.base)
            url = config.get_complete_url(place.base, key, place.model, mapped, settings, True)
            _require_own_address(place, url)
        body = place.config.transform_request(place.model, messages, mapped, settings, dict[str, object](headers))
        body = without({**body, "stream": True}, refused)
        return WireRequest(url, {**headers, "content-type": "application/json", **self._account(place)}, body)

    def streams(self, model: str) -> bool:
        """Returns whether LiteLLM streams a model's replies; of others it makes a stream once they are complete.

        Args:
            model: Its LiteLLM name.
        """
        if model not in self._streamed:
            if len(self._streamed) >= _MOST_KEPT:
                self._streamed.clear()
            self._streamed[model] = self._is_streamed(model)
        return self._streamed[model]

    def _is_streamed(self, model: str) -> bool:
        name, provider, _, _ = self._litellm.get_llm_provider(model, api_base=self._api_base)
        try:
            kind = self._litellm.LlmProviders(provider)
        except ValueError:
            return True
        config = self._litellm.utils.ProviderConfigManager.get_provider_chat_config(name, kind)
        return config is None or not config.should_fake_stream(name, True, provider)

    def _place(self, model: str, with_tools: bool) -> _Place | None:
        name, provider, key, base = self._litellm.get_llm_provider(model, api_base=self._api_base)
        if provider not in OPENAI_WIRE or (model.startswith("azure/") and provider != "azure"):
            return None
        if self._is_asked_by_responses(name, provider, with_tools, base):
            return None
        config = self._litellm.utils.ProviderConfigManager.get_provider_chat_config(
            name, self._litellm.LlmProviders(provider)
        )
        if config is None:
            return None
        if provider in _OPENAI:
            base = base or self._first("OPENAI_BASE_URL", "OPENAI_API_BASE") or _OPENAI_BASE
            key = key or self._environ.get("OPENAI_API_KEY")
        if provider == "azure":
            base = base or self._environ.get("AZURE_API_BASE")
            key = self._first("AZURE_OPENAI_API_KEY", "AZURE_API_KEY")
            if not _is_plain_azure(base) or not key:
                return None
        if base is None or key is None:
            base, key = _of_config(config, base, key)
            usual = provider.upper().replace("-", "_")
            base = base or self._environ.get(f"{usual}_API_BASE") or _BASES.get(provider)
            key = key or self._environ.get(f"{usual}_API_KEY")
        return _Place(name, provider, config, base, key)

    def _is_asked_by_responses(self, name: str, provider: str, with_tools: bool, base: str | None) -> bool:
        """Returns whether the model takes tools by OpenAI's Responses API alone, which LiteLLM translates."""
        place = (f"{provider}/{name}", with_tools)
        if place not in self._by_responses:
            tools = [{"type": "function"}] if with_tools else None
            found, _ = self._litellm.main.responses_api_bridge_check(name, provider, tools=tools, api_base=base)
            # Requests name models, so there is no end of names.
            if len(self._by_responses) >= _MOST_KEPT:
                self._by_responses.clear()
            self._by_responses[place] = found.get("mode") == "responses"
        return self._by_responses[place]

    def _sound_key(self, model: str, place: _Place) -> str | None:
        """Strips blanks and line breaks around a key, which come from a file or a paste; within it they are refused."""
        key = (place.key or "").strip()
        if not key:
            missing = self._litellm.validate_environment(model).get("missing_keys")
            if isinstance(missing, list) and missing:
                raise key_missing(model, [str(name) for name in missing])
            return None
        require_sound_key(model, key)
        return key

    def _azure(self, place: _Place) -> str:
        version = self._environ.get("AZURE_API_VERSION") or self._litellm.AZURE_DEFAULT_API_VERSION
        base = (place.base or "").rstrip("/")
        return f"{base}/openai/deployments/{place.model}/chat/completions?api-version={version}"

    def _account(self, place: _Place) -> dict[str, str]:
        if place.provider not in _OPENAI:
            return {}
        return {header: self._environ[name] for name, header in _ACCOUNT_HEADERS if self._environ.get(name)}

    def _first(self, *names: str) -> str | None:
        return next((self._environ[name] for name in names if self._environ.get(name)), None)


def _require_own_address(place: _Place, url: str) -> None:
    """Requires a base URL of the provider: LiteLLM would fall back to OpenAI's, which must not see another's key."""
    if place.provider not in _OPENAI and urlsplit(url).hostname == _OPENAI_HOST:
        raise NotAnApiError(f"none is set: set {place.provider.upper()}_API_BASE")


def _is_plain_azure(base: str | None) -> bool:
    """Returns whether an Azure URL is the usual one; those of the v1 API or of a deployment LiteLLM calls itself."""
    return bool(base) and urlsplit(base or "").path in ("", "/")


def _of_config(config: ChatConfig, base: str | None, key: str | None) -> tuple[str | None, str | None]:
    """Reads a provider's base URL and key by LiteLLM's configuration; some configurations know their own variables."""
    known = getattr(config, "get_openai_compatible_provider_info", None)
    if known is None:
        return base, key
    found_base, found_key = cast("tuple[str | None, str | None]", known(base, key))
    return base or found_base, key or found_key


def require_sound_key(model: str, key: str) -> None:
    """Requires that a key can be sent in a header.

    Args:
        model: The LiteLLM name.
        key: The key, without blanks around it.

    Raises:
        ModelRefused: `model_key_invalid`.
    """
    if not key.isascii() or not key.isprintable() or " " in key:
        text = f"The API key in {key_variable(model)} holds a line break, a blank or a letter that no key has."
        raise ModelRefused("model_key_invalid", text, details={"model": model})


def key_missing(model: str, variables: Sequence[str]) -> ModelRefused:
    """Builds the refusal of a model for which no key is set.

    Args:
        model: The LiteLLM name.
        variables: Variables that LiteLLM misses.

    Returns:
        `model_key_missing`.
    """
    names = " or ".join(dict.fromkeys([key_variable(model), *variables]))
    text = f"There is no API key for {model}: set {names} for the worker, or choose another model."
    return ModelRefused("model_key_missing", text, details={"model": model})
