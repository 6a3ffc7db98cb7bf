"""Version numbers, by the examples of semver.org."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.catalog.semver import SemVer
from taskforce.core.domain.errors import Invalid

ORDERED = (
    "0.0.4", "0.1.0", "1.0.0-0", "1.0.0-1", "1.0.0-11", "1.0.0--", "1.0.0-alpha", "1.0.0-alpha.1",
    "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1-rc", "1.0.1",
    "1.2.0", "1.10.0", "2.0.0", "10.0.0", "99999999999999999999.0.0",
)  # fmt: skip
VALID = (
    "1.1.2-prerelease+meta", "1.1.2+meta", "1.1.2+meta-valid", "1.0.0-alpha.0valid", "1.0.0-alpha-a.b-c-somethinglong",
    "1.0.0-0A.is.legal",
    "1.2.3----RC-SNAPSHOT.12.9.1--.12+788", "1.0.0+0.build.1-rc.10000aaa-kk-0.1", "1.0.0-rc.1+build.1",
)  # fmt: skip
WRONG = (
    "", "1", "1.2", "1.2.3-0123", "1.2.3-0123.0123", "1.1.2+.123", "+invalid", "-invalid", "alpha", "1.0.0-alpha_beta",
    "1.0.0-alpha..", "1.0.0-alpha..1", "01.1.1", "1.01.1", "1.1.01", "1.2.3.DEV", "1.2-SNAPSHOT",
    "1.2.31.2.3----RC-SNAPSHOT",
    "-1.0.3-gamma+b7718", "9.8.7+meta+meta", "1.0.0 ", " 1.0.0", "1.0.0\n", "1.0.0+", "1.0.0-", "\uff11.0.0",
    f"1.0.0-{'a' * 60}",
)  # fmt: skip
LABELS = st.lists(st.from_regex(r"\A(0|[1-9][0-9]{0,3}|[0-9]{0,2}[a-z-][0-9a-z-]{0,3})\Z"), max_size=3)
NUMBERS = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), LABELS)


def written(parts: tuple[int, int, int, list[str]]) -> SemVer:
    labels = f"-{'.'.join(parts[3])}" if parts[3] else ""
    return SemVer.parse(f"{parts[0]}.{parts[1]}.{parts[2]}{labels}")


def test_numbers_are_ordered_as_the_standard_says() -> None:
    versions = [SemVer.parse(text) for text in ORDERED]
    for (low, first), (high, second) in itertools.combinations(enumerate(versions), 2):
        assert first < second, (ORDERED[low], ORDERED[high])
        assert not second < first
        assert first != second
    assert [str(one) for one in sorted(set(versions))] == list(ORDERED)


@pytest.mark.parametrize("text", VALID)
def test_a_number_that_is_one(text: str) -> None:
    assert str(SemVer.parse(text)) == text


@pytest.mark.parametrize("text", WRONG)
def test_a_text_that_is_no_number(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        SemVer.parse(text)
    assert refused.value.code == "version_number_invalid"


def test_build_metadata_does_not_count() -> None:
    assert SemVer.parse("1.0.0+a") == SemVer.parse("1.0.0+b")
    assert len({SemVer.parse("1.0.0-x+a"), SemVer.parse("1.0.0-x")}) == 1
    assert SemVer.parse("1.0.0") != "1.0.0"


@given(NUMBERS, NUMBERS, NUMBERS)
def test_it_is_an_order(
    one: tuple[int, int, int, list[str]], two: tuple[int, int, int, list[str]], three: tuple[int, int, int, list[str]]
) -> None:
    a, b, c = written(one), written(two), written(three)
    assert (a < b) + (b < a) + (a == b) == 1
    if a < b < c:
        assert a < c
    if one[:3] == two[:3] and one[3] and not two[3]:
        assert a < b
