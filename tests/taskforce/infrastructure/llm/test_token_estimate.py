from collections.abc import Sequence

import pytest

from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.token_estimate import SAMPLED_CHARACTERS, TokenCounter, rough_tokens

CHINESE = "人工智能正在改变我们的生活方式。今天的天气很好。" * 30


@pytest.fixture
async def counter(model: LiteLLMModel) -> TokenCounter:
    return (await model.open()).tokens


class TestTheTokenizer:
    def test_counts_other_scripts_as_what_they_are(self, counter: TokenCounter) -> None:
        assert 400 <= counter.count(CHINESE[:700]) <= 1_000

    def test_counts_words(self, counter: TokenCounter) -> None:
        assert 8 <= counter.count("The quick brown fox jumps over the lazy dog.") <= 12
        assert counter.count() == counter.count("", "") == 0

    def test_takes_texts_that_hold_its_own_tokens_and_half_characters(self, counter: TokenCounter) -> None:
        assert counter.count("<|endoftext|>", "\ud83d") > 0

    @pytest.mark.parametrize("text", ["The quick brown fox. ", CHINESE, "!@#$%^&*()"])
    def test_counts_a_sample_of_a_long_text(self, counter: TokenCounter, text: str) -> None:
        short = text * (SAMPLED_CHARACTERS // len(text))
        assert counter.count(short * 20) == pytest.approx(counter.count(short) * 20, rel=0.1)


def test_a_long_text_is_not_read_as_a_whole() -> None:
    read: list[int] = []

    def encode(text: str) -> Sequence[int]:
        read.append(len(text))
        return range(len(text) // 4)

    assert TokenCounter(encode).count("abcd" * 1_000_000) == pytest.approx(1_000_000, rel=0.01)
    assert sum(read) <= SAMPLED_CHARACTERS


def test_without_a_tokenizer_characters_are_counted_by_script() -> None:
    assert TokenCounter().count("abcd" * 10) == rough_tokens("abcd" * 10) == 10
    assert 400 <= rough_tokens(CHINESE[:700]) <= 700
    assert rough_tokens("") == 0


class TestAProvidersCount:
    @pytest.mark.parametrize(("counted", "length"), [(5, 10), (1, 10_000), (9_000, 700), (1_300, 40_000)])
    def test_is_believed_where_it_can_be(self, counted: int, length: int) -> None:
        assert TokenCounter().believed(counted, "x" * length) == counted

    def test_is_ours_where_there_is_none(self) -> None:
        assert TokenCounter().believed(0, "x" * 400) == 100

    @pytest.mark.parametrize("counted", [1, 20])
    def test_is_ours_where_it_is_far_too_low(self, counted: int) -> None:
        assert TokenCounter().believed(counted, "x" * 40_000) == 10_000
