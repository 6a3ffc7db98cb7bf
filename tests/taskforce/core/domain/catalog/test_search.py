"""What agents are found by; that the database finds and ranks alike is shown where its rows are."""

from taskforce.core.domain.catalog.agent import Description
from taskforce.core.domain.catalog.search import SEARCHED, rank


def about(description: str) -> Description:
    return Description("Counter", "counter", description, None, frozenset({"maths"}), "alice")


def test_the_place_of_a_word_decides_and_every_word_must_be_there() -> None:
    counts = about("Counts sheep.")
    assert rank(counts, "counter") > rank(counts, "maths") > rank(counts, "sheep") > 0
    assert rank(counts, "counter goats") == 0


def test_of_a_long_description_the_beginning_is_searched() -> None:
    long = about("x " * (SEARCHED // 2 - 4) + " sheep goats")
    assert rank(long, "sheep") > 0
    assert rank(long, "goats") == 0
