"""To whom a run is charged."""

import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.attribution import Attribution, check_tags, label

USER = {"department": "sales", "cost_center": 4711}
AGENT = Attribution("marketing", "M-1")
TAGS = {"department": "finance", "cost_center": "F-1", "project": "x"}


@pytest.mark.parametrize(
    ("user", "agent", "tags", "charged"),
    [
        (USER, AGENT, TAGS, ("sales", "4711")),
        ({}, AGENT, TAGS, ("marketing", "M-1")),
        ({}, Attribution(), TAGS, ("finance", "F-1")),
        ({}, Attribution(), {}, (None, None)),
        ({"department": "sales"}, Attribution(cost_center="M-1"), TAGS, ("sales", "M-1")),
        ({"department": ["sales"], "cost_center": True}, Attribution(), TAGS, ("finance", "F-1")),
    ],
)
def test_the_users_attributes_go_before_the_agents_metadata_and_both_before_the_tags(
    user: dict[str, object], agent: Attribution, tags: dict[str, str], charged: tuple[str | None, str | None]
) -> None:
    found = Attribution.resolve(user, agent, tags)
    assert (found.department, found.cost_center) == charged
    assert found.tags == tags


@pytest.mark.parametrize("value", [None, "", " ", "a\x00", "a\nb", "x" * 257, True, 1.5, [], {}, 10**18])
def test_a_value_that_is_no_label_counts_as_none(value: object) -> None:
    assert label(value) is None


def test_a_label_is_a_text_or_a_whole_number() -> None:
    assert [label(value) for value in (" Größe & Co. ", 0, -7, "x" * 256)] == ["Größe & Co.", "0", "-7", "x" * 256]


@pytest.mark.parametrize(
    "tags",
    [
        {"": "x"},
        {"Team": "x"},
        {"a b": "x"},
        {"x" * 65: "x"},
        {"team": ""},
        {"team": "  "},
        {"team": "a\u202eb"},
        {"team": "x" * 257},
        {f"t{number}": "x" for number in range(11)},
    ],
)
def test_tags_that_cannot_be_charged_to_are_refused(tags: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        check_tags(tags)
    assert refused.value.code == "tags_invalid"


def test_ten_tags_of_the_longest_names_and_values_are_fine() -> None:
    check_tags({f"{number}_.-{'a' * 60}": "ü" * 256 for number in range(10)})
