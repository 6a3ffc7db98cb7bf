"""Identifiers."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.approvals import approval
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.ids import effect_id, missing, new_id, parse_id
from taskforce.core.domain.runs import run


def test_a_new_id_is_a_uuid7_in_canonical_text() -> None:
    made = [new_id() for _ in range(2_000)]
    assert len(set(made)) == len(made)
    for text in made:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)


@pytest.mark.parametrize("apart", [250, 1_000_000])
def test_ids_sort_by_the_time_of_their_making(monkeypatch: pytest.MonkeyPatch, apart: int) -> None:
    """Also within a millisecond, for what one transaction writes is read in its order."""
    now = iter(range(1_768_478_400_123_000_000, 1_768_478_400_123_000_000 + 4_000 * apart, apart))
    monkeypatch.setattr("time.time_ns", lambda: next(now))
    made = [new_id() for _ in range(4_000)]
    assert made == sorted(made)


def test_a_new_id_carries_its_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_768_478_400_123_999_999)
    assert uuid.UUID(new_id()).int >> 80 == 1_768_478_400_123


def test_an_effect_has_one_id_and_no_other_has_it() -> None:
    run = "0192f0c1-0000-7000-8000-000000000001"
    assert effect_id(run, 1, 2) == effect_id(run, 1, 2)
    different = {effect_id(run, 1, 2), effect_id(run, 2, 1), effect_id(run, 12, 0), effect_id(run[:-1] + "2", 1, 2)}
    assert len(different) == 4


@given(st.uuids())
def test_an_id_is_accepted_in_either_case_and_normalised(value: uuid.UUID) -> None:
    assert parse_id(str(value).upper(), "run") == str(value)


@pytest.mark.parametrize(
    "text",
    ["", "x", "0" * 32, "{0192f0c1-0000-7000-8000-000000000001}", "0192f0c1-0000-7000-8000-000000000001\n",
     "urn:uuid:0192f0c1-0000-7000-8000-000000000001", "\u0660192f0c1-0000-7000-8000-000000000001", "\x00", "'; --"],
)  # fmt: skip
def test_anything_else_is_answered_like_an_id_that_is_not_there(text: str) -> None:
    with pytest.raises(Missing) as refused:
        parse_id(text, "run")
    expected = missing("run")
    assert (refused.value.code, refused.value.message) == (expected.code, expected.message)
    assert (expected.code, expected.message) == ("run_not_found", "There is no such run.")


def test_workflow_ids_of_two_tenants_never_meet() -> None:
    assert run.workflow_id("acme", "1") == "acme:run:1"
    assert approval.workflow_id("acme", "1") == "acme:approval:1"
