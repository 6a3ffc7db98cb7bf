"""The prices of the bundled map, by the library's own rules."""

import subprocess
import sys
from decimal import Decimal

import pytest

from taskforce.core.domain.metering.prices import cost_of
from taskforce.core.domain.metering.tokens import TokenCounts, TokenPart
from taskforce.infrastructure.llm import price_map
from taskforce.infrastructure.llm.price_map import ZERO, BundledPrices, PriceMap, read_price_map

A = {"input_cost_per_token": Decimal("0.001"), "output_cost_per_token": Decimal("0.002")}
ENTRIES = {
    "gpt-a": {"litellm_provider": "openai", "mode": "chat", **A},
    "azure/gpt-a": {"litellm_provider": "azure", "mode": "chat", **A},
    "claude-a": {"litellm_provider": "anthropic", "mode": "chat", **A},
    "anthropic.claude-a-v1:0": {"litellm_provider": "bedrock_converse", "mode": "chat", **A},
    "eu.anthropic.claude-a-v1:0": {"litellm_provider": "bedrock_converse", "mode": "chat", **A},
    "gemini-a": {"litellm_provider": "vertex_ai-language-models", "mode": "chat", **A},
    "gemini/gemini-a": {"litellm_provider": "gemini", "mode": "chat", **A},
    "ft:gpt-a": {"litellm_provider": "openai", "mode": "chat", **A},
    "perplexity/perplexity/glm": {"litellm_provider": "perplexity", "mode": "chat", **A},
}


@pytest.fixture(scope="module")
def bundled() -> PriceMap:
    return read_price_map()


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("gpt-a", "gpt-a"),
        ("openai/gpt-a", "gpt-a"),
        ("OpenAI/gpt-a", None),
        ("openai/GPT-A", "gpt-a"),
        ("openai/gpt-a-2026-01-15", "gpt-a"),
        ("azure/gpt-a", "azure/gpt-a"),
        ("azure_ai/gpt-a", "gpt-a"),
        ("hosted_vllm/gpt-a", None),
        ("azure/my-deployment", None),
        ("anthropic/claude-a", "claude-a"),
        ("bedrock/anthropic.claude-a-v1:0", "anthropic.claude-a-v1:0"),
        ("bedrock/eu.anthropic.claude-a-v1:0", "eu.anthropic.claude-a-v1:0"),
        ("bedrock/us.anthropic.claude-a-v1:0", "anthropic.claude-a-v1:0"),
        ("bedrock/converse/us.anthropic.claude-a-v1:0", "anthropic.claude-a-v1:0"),
        ("bedrock/us-east-1/anthropic.claude-a-v1:0", "anthropic.claude-a-v1:0"),
        ("bedrock/anthropic.claude-a-v1:0:51k", "anthropic.claude-a-v1:0"),
        ("bedrock/claude-a", None),
        ("vertex_ai/gemini-a", "gemini-a"),
        ("gemini/gemini-a-001", "gemini/gemini-a"),
        ("ft:gpt-a:acme::id", "ft:gpt-a"),
        ("perplexity/glm", "perplexity/perplexity/glm"),
        ("perplexity/perplexity/glm", "perplexity/perplexity/glm"),
        ("", None),
        ("/", None),
    ],
)
def test_a_name_leads_to_the_entry_of_its_own_provider(model: str, key: str | None) -> None:
    assert PriceMap(ENTRIES, "test").key(model) == key


CASES = (
    TokenCounts(1_500, 800),
    TokenCounts(262_960, 1_744, cached=257_955),
    TokenCounts(12_307, 550, cache_write=12_304),
    TokenCounts(1_000, 500, reasoning=300, audio_input=100, audio_output=50),
    TokenCounts(600_000, 10, reasoning=5),
    TokenCounts(200_000, 10),
    TokenCounts(128_001, 10),
)


LENGTHS = {"max_tokens", "max_output_tokens"}
"""Fields that say how long a reply may be, and nothing of its price."""


def test_chat_models_of_every_provider_cost_what_the_library_says(
    bundled: PriceMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else the library looks for a newer map on the network when it is imported.
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from litellm.litellm_core_utils.llm_cost_calc.utils import generic_cost_per_token
    from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper, Usage

    shapes: dict[object, str] = {}
    for key, entry in bundled._entries.items():
        # By the hour of the day the library takes another price, of which the notes tell.
        if entry.get("mode") in {"chat", "responses"} and bundled.price(key) and "off_peak_pricing" not in entry:
            # One entry of each provider's with the same kinds of prices stands for the others.
            shapes.setdefault((entry["litellm_provider"], frozenset(entry) - LENGTHS), key)
    assert len(shapes) > 200
    differing = []
    for key in shapes.values():
        owner = str(bundled._entries[key]["litellm_provider"])
        provider = "vertex_ai" if owner.startswith("vertex_ai") else owner
        price = bundled.price(f"{provider}/{key}")
        assert price is not None
        for counts in CASES:
            usage = Usage(
                prompt_tokens=counts.input,
                completion_tokens=counts.output,
                total_tokens=counts.total,
                prompt_tokens_details=PromptTokensDetailsWrapper(
                    cached_tokens=counts.cached,
                    audio_tokens=counts.audio_input,
                    cache_creation_tokens=counts.cache_write,
                ),
                completion_tokens_details=CompletionTokensDetailsWrapper(
                    reasoning_tokens=counts.reasoning,
                    audio_tokens=counts.audio_output,
                    text_tokens=counts.parts()[TokenPart.OUTPUT],
                ),
            )
            theirs = sum(generic_cost_per_token(model=key, usage=usage, custom_llm_provider=provider))
            if abs(float(cost_of(counts, price)) - theirs) > 1e-9 * max(theirs, 1e-6):
                differing.append((key, counts))
    assert differing == []


def test_prices_are_the_files_own_decimals(bundled: PriceMap) -> None:
    price = bundled.price("openai/gpt-4o")
    assert price is not None
    assert price.model == "gpt-4o"
    assert price.currency == "USD"
    assert price.source.startswith("litellm:1.")
    assert price.tokens.prices[TokenPart.INPUT] == Decimal("0.0000025")


def test_what_runs_here_is_free_and_what_is_unknown_has_no_price(bundled: PriceMap) -> None:
    for model in ("offline/demo", "ollama/mistral"):
        price = bundled.price(model)
        assert price is not None
        assert (cost_of(TokenCounts(10_000, 10_000), price), price.source) == (Decimal(0), "free")
    assert bundled.price("acme/unheard-of") is None


def test_a_zero_of_the_map_is_no_price_and_is_told_to_be_none(bundled: PriceMap) -> None:
    zeros = [key for key in bundled._entries if ZERO in bundled.notes(key)]
    assert len(zeros) > 50
    assert all(bundled.price(key) is None for key in zeros)


def test_what_is_priced_by_image_or_second_is_told_beside_the_price(bundled: PriceMap) -> None:
    entry = {"litellm_provider": "x", "mode": "chat", **A, "input_cost_per_image": Decimal("0.0048")}
    price = PriceMap({"x/eyes": entry}, "test").price("x/eyes")
    assert price is not None
    assert price.notes == ("An image of the prompt costs 0.0048 USD besides; it is not counted.",)
    assert sum(bool(bundled.notes(key)) for key in bundled._entries) > 500


def test_a_damaged_entry_has_no_price_and_breaks_nothing() -> None:
    broken: dict[str, dict[str, object]] = {
        "a": {"input_cost_per_token": Decimal("NaN")},
        "b": {"input_cost_per_token": -1, "output_cost_per_token": 1},
        "c": {"tiered_pricing": "none"},
        "d": {"tiered_pricing": [{"range": [0, 1]}]},
        "e": {"tiered_pricing": [{"range": "?", **A}]},
        "f": {"tiered_pricing": [7]},
        "g": {"input_cost_per_token": True, "output_cost_per_token": True},
    }
    prices = PriceMap(broken, "test")
    assert [key for key in broken if prices.price(key) is not None] == ["e"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("openai/gtp-4o", "openai/gpt-4o"),
        ("opneai/gpt-4o", "openai/gpt-4o"),
        ("gtp-4o", "gpt-4o"),
        ("anthropic/claude-haku-4-5", "anthropic/claude-haiku-4-5"),
        ("acme/unheard-of", None),
        ("x" * 100_000, None),
    ],
)
def test_the_nearest_name_is_written_as_calls_write_it(bundled: PriceMap, typed: str, meant: str | None) -> None:
    assert bundled.nearest(typed) == meant
    assert meant is None or bundled.price(meant) is not None


async def test_the_map_is_read_once() -> None:
    assert await BundledPrices().load() is await BundledPrices().load() is read_price_map()


def test_the_map_is_read_without_the_library() -> None:
    script = (
        "import sys; from taskforce.infrastructure.llm.price_map import read_price_map as read;"
        "assert read().price('gpt-4o'); assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_the_library_nothing_has_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_map, "find_spec", lambda _: None)
    empty = price_map._parsed()
    assert empty.price("gpt-4o") is None
    assert empty.price("offline/demo") is not None
