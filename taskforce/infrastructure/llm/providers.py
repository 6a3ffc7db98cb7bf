"""The providers of models, by LiteLLM's names of both."""

from functools import lru_cache

from taskforce.infrastructure.llm.litellm_library import LiteLLM

MOST_KEPT = 256
"""Names of models whose provider is kept; LiteLLM looks through long lists for one."""


class Providers:
    """Finds the provider of a model.

    Args:
        litellm: The library, for names that say no provider.
    """

    def __init__(self, litellm: LiteLLM) -> None:
        self._litellm = litellm
        self._found = lru_cache(MOST_KEPT)(self._find)

    def of(self, model: str) -> str | None:
        """Returns the provider of a model, or None where it is not known.

        Args:
            model: Its LiteLLM name: `openai/gpt-4o-mini`, or `gpt-4o-mini` where LiteLLM knows it.
        """
        provider, slash, _ = model.partition("/")
        return provider if slash else self._found(model)

    def _find(self, model: str) -> str | None:
        try:
            return self._litellm.get_llm_provider(model, api_base=None)[1]
        except Exception:  # noqa: BLE001 - LiteLLM raises errors of its own for a name that it does not know
            return None
