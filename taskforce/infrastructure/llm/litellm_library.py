"""Types of the part of LiteLLM that is used; the library itself is imported in `litellm_model` alone."""

# ruff: noqa: D102 - the methods are documented where they are, in LiteLLM

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import httpx

if TYPE_CHECKING:
    from taskforce.infrastructure.llm.litellm_clients import BoundedClients

Json = dict[str, object]


class LiteLLMStream(Protocol):
    """Types LiteLLM's stream of a reply; `completion_stream` yields the provider's own chunks."""

    chunks: Sequence[object]
    completion_stream: object
    received_finish_reason: str | None
    intermittent_finish_reason: str | None

    def __aiter__(self) -> AsyncIterator[object]: ...

    async def aclose(self) -> None: ...


class ChatConfig(Protocol):
    """Types LiteLLM's configuration of a provider's chat endpoint."""

    def should_fake_stream(self, model: str, stream: bool, custom_llm_provider: str) -> bool: ...

    def get_supported_openai_params(self, model: str) -> list[str]: ...

    def map_openai_params(
        self,
        non_default_params: Json,
        optional_params: Json,
        model: str,
        drop_params: bool,
    ) -> Json: ...

    def transform_request(
        self, model: str, messages: list[Json], optional_params: Json, litellm_params: Json, headers: Json
    ) -> Json: ...

    def validate_environment(  # noqa: PLR0917 - LiteLLM's signature
        self,
        headers: Json,
        model: str,
        messages: list[Json],
        optional_params: Json,
        litellm_params: Json,
        api_key: str | None = None,
        api_base: str | None = None,
    ) -> dict[str, str]: ...

    def get_complete_url(  # noqa: PLR0917 - LiteLLM's signature
        self,
        api_base: str | None,
        api_key: str | None,
        model: str,
        optional_params: Json,
        litellm_params: Json,
        stream: bool | None = None,
    ) -> str: ...


class _Configs(Protocol):
    def get_provider_chat_config(self, model: str, provider: object) -> ChatConfig | None: ...


class _Main(Protocol):
    def responses_api_bridge_check(
        self, model: str, custom_llm_provider: str, *, tools: object, api_base: str | None
    ) -> tuple[Mapping[str, object], str]: ...


class _Utils(Protocol):
    ProviderConfigManager: _Configs


class _Encoding(Protocol):
    def encode_ordinary(self, text: str) -> Sequence[int]: ...


class _Checkers(Protocol):
    def is_error_str_context_window_exceeded(self, error_str: str) -> bool: ...


class _ExceptionMapping(Protocol):
    ExceptionCheckers: _Checkers


class _CoreUtils(Protocol):
    exception_mapping_utils: _ExceptionMapping


class AsyncHandler(Protocol):
    """Types LiteLLM's wrapper of an HTTP client."""

    @property
    def client(self) -> httpx.AsyncClient: ...

    async def post(self, url: str, data: bytes) -> httpx.Response: ...

    async def close(self) -> None: ...


class BlockingHandler(Protocol):
    """Types LiteLLM's wrapper of an HTTP client that blocks its thread."""

    def post(self, url: str, data: bytes) -> httpx.Response: ...


class ClientCache(Protocol):
    """Types LiteLLM's cache of clients."""

    def get_cache(self, key: str, **options: object) -> object: ...

    def flush_cache(self) -> None: ...


class _HttpHandler(Protocol):
    AsyncHTTPHandler: Callable[..., AsyncHandler]
    HTTPHandler: Callable[..., BlockingHandler]

    def get_async_httpx_client(self, llm_provider: str, params: Json | None = None) -> AsyncHandler: ...

    def get_httpx_client(self) -> BlockingHandler: ...

    def get_ssl_configuration(self) -> ssl.SSLContext | bool: ...


class _CustomHttpx(Protocol):
    http_handler: _HttpHandler


class _Llms(Protocol):
    custom_httpx: _CustomHttpx


class LiteLLM(Protocol):
    """The library."""

    AZURE_DEFAULT_API_VERSION: str
    CustomLLM: type
    LlmProviders: Callable[[str], object]
    UnsupportedParamsError: type[Exception]
    aclient_session: httpx.AsyncClient | None
    callbacks: list[object]
    custom_provider_map: list[Mapping[str, object]]
    encoding: _Encoding
    in_memory_llm_clients_cache: "ClientCache | BoundedClients"
    litellm_core_utils: _CoreUtils
    llms: _Llms
    main: _Main
    suppress_debug_info: bool
    utils: _Utils

    async def acompletion(self, **options: object) -> LiteLLMStream | None: ...

    def get_llm_provider(self, model: str, *, api_base: str | None) -> tuple[str, str, str | None, str | None]: ...

    def validate_environment(self, model: str) -> Mapping[str, object]: ...

    async def close_litellm_async_clients(self) -> None: ...
