"""Token counts and their parts."""

from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.metering.tokens import NO_TOKENS, TokenCounts, TokenPart

ANY = st.builds(TokenCounts, *(st.integers(-(10**12), 10**12) for _ in TokenCounts.__slots__))


@given(ANY)
def test_parts_are_disjoint_and_add_up_to_the_whole(counts: TokenCounts) -> None:
    parts = counts.parts()
    assert set(parts) == set(TokenPart)
    assert all(part >= 0 for part in parts.values())
    assert sum(parts.values()) == counts.total == counts.input + counts.output


@given(ANY, ANY)
def test_the_parts_of_a_sum_are_the_sums_of_the_parts(one: TokenCounts, other: TokenCounts) -> None:
    both = (one + other).parts()
    assert both == {part: one.parts()[part] + other.parts()[part] for part in TokenPart}
    assert one + NO_TOKENS == one


def test_a_part_that_exceeds_its_whole_is_cut_to_it() -> None:
    counts = TokenCounts(100, 10, cached=60, cache_write=70, reasoning=11, audio_input=5, audio_output=1)
    assert counts == TokenCounts(100, 10, cached=60, cache_write=40, reasoning=10)


def test_cached_and_reasoning_tokens_are_counted_once() -> None:
    assert TokenCounts(262_960, 1_744, cached=257_955, reasoning=700).parts() == {
        TokenPart.INPUT: 5_005,
        TokenPart.CACHED: 257_955,
        TokenPart.CACHE_WRITE: 0,
        TokenPart.AUDIO_INPUT: 0,
        TokenPart.OUTPUT: 1_044,
        TokenPart.REASONING: 700,
        TokenPart.AUDIO_OUTPUT: 0,
    }
