"""Whatever is done to an export of the audit log is found, and where."""

import hashlib
import itertools
import json
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taskforce.core.domain.audit.chain import Anchor, Flaw, Sealed, export, seal, verify
from tests.taskforce.core.domain.audit.exports import (
    ANCHOR,
    EVENT_LINES,
    GENESIS,
    LINES,
    altered,
    events_of,
    exported,
    flaw,
    line_of,
)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
some_events = st.lists(st.dictionaries(names, values, max_size=3), max_size=8)


# What is whole


@given(some_events, some_events)
def test_every_export_is_whole_wherever_it_begins(
    earlier: list[dict[str, object]], events: list[dict[str, object]]
) -> None:
    _, before = seal(GENESIS, earlier)
    sealed, after = seal(before, events)
    verified = verify(export(before, sealed, after), after, start=before)
    assert (verified.tenant_id, verified.events) == ("acme", len(events))
    assert (verified.start, verified.end) == (before, after)


@given(some_events, st.data())
def test_batches_make_no_difference(events: list[dict[str, object]], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    place, sealed = GENESIS, list[Sealed]()
    for begin, end in itertools.pairwise([0, *cuts, len(events)]):
        batch, place = seal(place, events[begin:end])
        sealed += batch
    assert (tuple(sealed), place) == seal(GENESIS, events)
    assert [one.seq for one in sealed] == list(range(1, len(events) + 1))


def test_it_says_what_it_holds() -> None:
    verified = verify(LINES, ANCHOR)
    assert (verified.tenant_id, verified.events, verified.first_seq, verified.last_seq) == ("acme", 6, 1, 6)
    assert verified.first_at == datetime(2026, 3, 1, 10, 0, 1, tzinfo=UTC)
    assert verified.last_at == datetime(2026, 3, 1, 10, 0, 6, tzinfo=UTC)


def test_an_export_without_events_is_whole() -> None:
    lines, anchor = exported(0, ANCHOR)
    verified = verify(lines, anchor, start=ANCHOR)
    assert (verified.events, verified.first_seq, verified.last_seq, verified.first_at) == (0, None, None, None)


@pytest.mark.parametrize("at", [None, "yesterday", "2026-03-01T10:00:00", 12])
def test_an_event_without_a_time_is_whole(at: object) -> None:
    sealed, after = seal(GENESIS, [{"at": at}])
    assert verify(export(GENESIS, sealed, after), after).first_at is None


def test_the_segments_of_a_chain_join_at_their_anchors() -> None:
    later, end = exported(3, ANCHOR)
    verified = verify(later, end, start=ANCHOR)
    assert (verified.first_seq, verified.last_seq, verified.start) == (7, 9, ANCHOR)


def test_line_feeds_may_be_missing() -> None:
    assert verify([line.removesuffix("\n") for line in LINES], ANCHOR).events == 6


def test_the_chain_is_what_the_documentation_says() -> None:
    def digest(value: object) -> str:
        return hashlib.sha256(line_of(value).strip("\n").encode()).hexdigest()

    event = {"b": 1, "a": "Ü"}
    sealed, after = seal(GENESIS, [event])
    begin = digest(["taskforce-audit/1", "acme", 0])
    end = digest(["taskforce-audit/1", "acme", 1, begin, event])
    assert list(export(GENESIS, sealed, after)) == [
        f'{{"format":"taskforce-audit/1","from":"acme:0:{begin}","tenant":"acme"}}\n',
        f'{{"event":{{"a":"Ü","b":1}},"hash":"{end}","seq":1}}\n',
        f'{{"to":"acme:1:{end}"}}\n',
    ]


# What was done to an export


@pytest.mark.parametrize("number", EVENT_LINES)
def test_a_changed_event_is_found(number: int) -> None:
    assert flaw(altered(number, actor_id="mallory")) == (number + 1, Flaw.WRONG_HASH)


@pytest.mark.parametrize("number", EVENT_LINES)
def test_a_changed_event_with_its_own_hash_made_anew_is_found_at_the_next_or_at_the_anchor(number: int) -> None:
    before = GENESIS if number == 1 else Anchor("acme", number - 1, json.loads(LINES[number - 1])["hash"])
    found = json.loads(altered(number, actor_id="mallory")[number])
    (sealed,), _ = seal(before, [found["event"]])
    forged = [*LINES[:number], line_of({**found, "hash": sealed.hash}), *LINES[number + 1 :]]
    assert flaw(forged) == ((number + 2, Flaw.WRONG_HASH) if number < 6 else (number + 1, Flaw.WRONG_END))


@given(st.sampled_from(EVENT_LINES), st.data())
def test_any_changed_character_of_an_event_is_found_in_its_line(number: int, data: st.DataObject) -> None:
    line = LINES[number].removesuffix("\n")
    position = data.draw(st.integers(0, len(line) - 1))
    character = data.draw(st.characters(exclude_characters=[line[position]]) | st.sampled_from(' \n\t"\\0eE'))
    assume(character != line[position])
    changed = line[:position] + character + line[position + 1 :]
    assert flaw([*LINES[:number], changed, *LINES[number + 1 :]])[0] == number + 1


@given(st.data())
def test_any_changed_inserted_or_deleted_character_of_the_file_is_found(data: st.DataObject) -> None:
    text = "".join(LINES)
    position = data.draw(st.integers(0, len(text) - 2))
    taken = data.draw(st.integers(0, 1))
    given_instead = data.draw(st.text(st.characters() | st.sampled_from(' \n\r"{}'), max_size=1))
    changed = text[:position] + given_instead + text[position + taken :]
    assume(changed != text)
    flaw(changed.removesuffix("\n").split("\n"))


@pytest.mark.parametrize("number", EVENT_LINES)
def test_a_deleted_event_is_found(number: int) -> None:
    expected = (number + 1, Flaw.WRONG_SEQ if number < 6 else Flaw.CUT_SHORT)
    assert flaw([*LINES[:number], *LINES[number + 1 :]]) == expected


def test_a_deleted_event_is_found_also_when_the_rest_is_numbered_anew() -> None:
    rest = [json.loads(line) for line in LINES[4:7]]
    moved = [line_of({**found, "seq": found["seq"] - 1}) for found in rest]
    assert flaw([*LINES[:3], *moved, LINES[7]]) == (4, Flaw.WRONG_HASH)


@pytest.mark.parametrize("number", EVENT_LINES)
def test_an_inserted_event_is_found(number: int) -> None:
    inserted = line_of({"event": {"action": "harmless"}, "hash": "0" * 64, "seq": number})
    assert flaw([*LINES[:number], inserted, *LINES[number:]]) == (number + 1, Flaw.WRONG_HASH)


@pytest.mark.parametrize("number", EVENT_LINES)
def test_an_event_that_stands_twice_is_found(number: int) -> None:
    assert flaw([*LINES[: number + 1], *LINES[number:]]) == (number + 2, Flaw.WRONG_SEQ)


@given(st.permutations(range(8)))
def test_any_other_order_is_found(order: list[int]) -> None:
    assume(order != list(range(8)))
    first_moved = next(place for place, number in enumerate(order) if place != number)
    assert flaw([LINES[number] for number in order])[0] == first_moved + 1


@given(st.sets(st.integers(0, 7), max_size=7))
def test_any_cut_is_found(kept: set[int]) -> None:
    first_missing = min(set(range(8)) - kept)
    assert flaw([LINES[number] for number in sorted(kept)])[0] == first_missing + 1


@given(st.integers(0, len("".join(LINES)) - 2))
def test_a_file_that_ends_anywhere_before_its_end_is_found(length: int) -> None:
    flaw("".join(LINES)[:length].splitlines(keepends=True))


@pytest.mark.parametrize("kept", range(6))
def test_a_cut_tail_with_a_closing_line_made_anew_is_found(kept: int) -> None:
    shorter, _ = exported(kept)
    assert flaw(shorter) == (kept + 2, Flaw.CUT_SHORT)


def test_a_closing_line_that_names_the_anchor_hides_no_cut() -> None:
    assert flaw([*LINES[:4], LINES[7]]) == (5, Flaw.CUT_SHORT)


def test_a_closing_line_that_names_another_place_is_found() -> None:
    assert flaw([*LINES[:7], line_of({"to": str(GENESIS)})]) == (8, Flaw.WRONG_END)


def test_events_after_the_anchor_are_found() -> None:
    longer, _ = exported(7)
    assert flaw(longer) == (8, Flaw.WRONG_END)


def test_a_chain_made_anew_is_found_at_the_anchor_from_elsewhere() -> None:
    forged = [{**event, "actor_id": "mallory"} for event in events_of("acme", 6)]
    sealed, after = seal(GENESIS, forged)
    lines = list(export(GENESIS, sealed, after))
    assert flaw(lines) == (7, Flaw.WRONG_END)
    assert verify(lines, after).events == 6, "whole against its own anchor, which therefore proves nothing"


def test_a_segment_that_stands_for_the_whole_is_found_by_who_knows_the_start() -> None:
    place = Anchor("acme", 2, json.loads(LINES[2])["hash"])
    header = line_of({"format": "taskforce-audit/1", "from": str(place), "tenant": "acme"})
    cut = [header, *LINES[3:]]
    assert verify(cut, ANCHOR).start == place, "retention may have dropped them"
    assert flaw(cut, start=GENESIS) == (1, Flaw.WRONG_START)


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_cut_head_whose_start_does_not_lead_to_the_events_is_found(seq: int) -> None:
    header = line_of({"format": "taskforce-audit/1", "from": f"acme:{seq}:{'a' * 64}", "tenant": "acme"})
    expected = Flaw.WRONG_HASH if seq == 2 else Flaw.WRONG_SEQ
    assert flaw([header, *LINES[3:]]) == (2, expected)


@pytest.mark.parametrize("start", [Anchor("acme", 6, "a" * 64), Anchor("acme", 7, "a" * 64)])
def test_a_start_from_which_no_way_leads_to_the_anchor_is_found(start: Anchor) -> None:
    assert flaw(list(export(start, (), start))) == (1, Flaw.WRONG_END)


@pytest.mark.parametrize("number", EVENT_LINES)
def test_events_of_another_tenant_are_found(number: int) -> None:
    foreign, _ = exported(6, Anchor.genesis("umbrella"))
    assert flaw([*LINES[:number], *foreign[number:7], LINES[7]]) == (number + 1, Flaw.WRONG_HASH)


def test_the_same_events_make_another_chain_for_another_tenant() -> None:
    _, ours = seal(GENESIS, [{"action": "login"}])
    _, theirs = seal(Anchor.genesis("umbrella"), [{"action": "login"}])
    assert ours.hash != theirs.hash


def test_the_export_of_another_tenant_is_found() -> None:
    foreign, theirs = exported(6, Anchor.genesis("umbrella"))
    assert flaw(foreign) == (1, Flaw.WRONG_TENANT)
    assert flaw(LINES, theirs) == (1, Flaw.WRONG_TENANT)


@pytest.mark.parametrize("number", range(2, 7))
def test_events_of_another_export_of_the_same_tenant_are_found(number: int) -> None:
    sealed, after = seal(GENESIS, [{"action": f"other {n}"} for n in range(6)])
    other = list(export(GENESIS, sealed, after))
    assert flaw([*LINES[:number], *other[number:7], LINES[7]]) == (number + 1, Flaw.WRONG_HASH)


@pytest.mark.parametrize("more", ["", "\n", " ", "{}", LINES[7], LINES[1]])
def test_anything_after_the_closing_line_is_found(more: str) -> None:
    assert flaw([*LINES, more]) == (9, Flaw.TRAILING_DATA)


def test_two_exports_in_one_file_are_found() -> None:
    assert flaw([*LINES, *LINES]) == (9, Flaw.TRAILING_DATA)
