"""Token counts, as providers and LiteLLM report them."""

from collections.abc import Mapping

import pytest

from taskforce.core.domain.metering.tokens import NO_TOKENS, TokenCounts, TokenPart
from taskforce.core.interfaces.llm import ChatMessage, ModelRequest
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.token_usage import counts_of, larger
from tests.fixtures.wild_llm import WildLLM
from tests.fixtures.wild_streams import anthropic

CACHED = {"cached_tokens": 257_955}
LARGE = TokenCounts(262_960, 1_744, cached=257_955)
WRITTEN = TokenCounts(12_307, 550, cache_write=12_304)
REPORTS: Mapping[str, tuple[Mapping[str, object], TokenCounts]] = {
    "OpenAI": (
        {"prompt_tokens": 262_960, "completion_tokens": 1_744, "prompt_tokens_details": CACHED},
        LARGE,
    ),
    "OpenAI's Responses": (
        {"input_tokens": 262_960, "output_tokens": 1_744, "input_tokens_details": CACHED},
        LARGE,
    ),
    "DeepSeek": (
        {
            "prompt_tokens": 262_960,
            "completion_tokens": 1_744,
            "total_tokens": 264_704,
            "prompt_cache_hit_tokens": 257_955,
            "prompt_cache_miss_tokens": 5_005,
        },
        LARGE,
    ),
    "one that counts the cache beside the prompt": (
        {"prompt_tokens": 5_005, "completion_tokens": 1_744, "total_tokens": 264_704, "prompt_tokens_details": CACHED},
        LARGE,
    ),
    "Anthropic": ({"input_tokens": 3, "cache_creation_input_tokens": 12_304, "output_tokens": 550}, WRITTEN),
    "Anthropic, read and written": (
        {
            "input_tokens": 3,
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 200,
            "output_tokens": 5,
        },
        TokenCounts(303, 5, cached=200, cache_write=100),
    ),
    "LiteLLM of Anthropic": (
        {
            "prompt_tokens": 12_307,
            "completion_tokens": 550,
            "total_tokens": 12_857,
            "cache_creation_input_tokens": 12_304,
            "cache_read_input_tokens": 0,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_creation_tokens": 12_304, "text_tokens": 3},
        },
        WRITTEN,
    ),
    "audio and reasoning": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"audio_tokens": 60, "cached_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 25},
        },
        TokenCounts(100, 50, cached=10, audio_input=60, reasoning=20, audio_output=25),
    ),
    "reasoning beside the reply": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 170,
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        TokenCounts(100, 70, reasoning=20),
    ),
    "more parts than the whole": (
        {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 9}},
        TokenCounts(10, 5, cached=8, audio_input=2),
    ),
    "nonsense": ({"prompt_tokens": True, "completion_tokens": -5, "prompt_tokens_details": 7}, NO_TOKENS),
    "an astronomic number": ({"prompt_tokens": 1e300, "completion_tokens": 10**30}, TokenCounts(10**9, 10**9)),
}


@pytest.mark.parametrize("name", REPORTS)
def test_each_report_is_read_in_disjoint_parts(name: str) -> None:
    report, counts = REPORTS[name]
    assert counts_of(report) == counts
    assert sum(counts.parts().values()) == counts.total


def test_the_parts_of_a_large_cached_prompt() -> None:
    parts = counts_of(REPORTS["OpenAI"][0]).parts()
    assert (parts[TokenPart.INPUT], parts[TokenPart.CACHED], parts[TokenPart.OUTPUT]) == (5_005, 257_955, 1_744)


def test_counts_that_come_in_pieces_or_again_are_taken_once() -> None:
    pieces = ({"input_tokens": 3, "cache_creation_input_tokens": 12_304}, {"output_tokens": 5}, {"output_tokens": 550})
    counts = NO_TOKENS
    for piece in (*pieces, *pieces):
        counts = larger(counts, counts_of(piece))
    assert counts == WRITTEN


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"input_tokens": 3, "cache_creation_input_tokens": 12_304, "output_tokens": 1}, WRITTEN),
        (
            {"input_tokens": 5_005, "cache_read_input_tokens": 257_955, "output_tokens": 1},
            TokenCounts(262_960, 550, cached=257_955),
        ),
    ],
)
async def test_anthropics_stream_through_litellm(
    monkeypatch: pytest.MonkeyPatch, usage: Mapping[str, int], counts: TokenCounts
) -> None:
    async with WildLLM() as wild:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
        model = LiteLLMModel(api_base=wild.root)
        wild.says(anthropic("Hi", usage=usage, output_tokens=550))
        request = ModelRequest(("anthropic/claude-sonnet-4-5",), (ChatMessage("user", "Go."),))
        (made,) = (await model.complete(request, lambda _: None)).calls
        await model.aclose()
    assert (made.tokens, made.estimated, made.provider) == (counts, None, "anthropic")


@pytest.mark.parametrize(("name", "provider"), [("gpt-4o", "openai"), ("no-such-model", None), ("a/b/c", "a")])
async def test_the_provider_of_a_model(name: str, provider: str | None) -> None:
    model = LiteLLMModel()
    assert (await model.open()).providers.of(name) == provider
    await model.aclose()
