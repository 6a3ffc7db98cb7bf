"""Names and addresses as directories hold them, and what people see of them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.infrastructure.auth.shown_text import LONGEST_NAME, mail_address, shown_name

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    ("claimed", "shown"),
    [
        ("Alice", "Alice"),
        ("山田\u3000太郎", "山田 太郎"),
        ("Équipe\u00a0Achats", "Équipe Achats"),
        ("Jean\u202fPaul\u2009\u2003Luc", "Jean Paul Luc"),
        ("Alice\tB\r\nC\u2028D", "Alice B C D"),
        (" Bob ", "Bob"),
        ("Maria\u00adLuise", "MariaLuise"),
        ("\ufeffZoë", "Zoë"),
        ("Zoe\u0308", "Zoë"),
        ("a\u202ebob", "abob"),
        ("a\u2066b\u2069\u0007", "ab"),
        ("B\u200bob", "Bob"),
        ("\u115fBob\u3164", "Bob"),
        ("private\ue000use", "privateuse"),
        ("Z" + "\u0300\u0301\u0302\u0303\u0304\u0305\u0306" * 5, "Z\u0300\u0301\u0302\u0303"),
        # Joiners stay where a script or an emoji needs them, and nowhere where they only make a twin.
        ("علی\u200cرضا", "علی\u200cرضا"),  # noqa: RUF001
        ("श्री\u200dमान", "श्री\u200dमान"),
        (FAMILY, FAMILY),
        ("❤️\u200d🔥", "❤️\u200d🔥"),
        ("ad\u200cmin", "admin"),
        ("а\u200dдмин", "админ"),  # noqa: RUF001
        ("\u200d\u200cرضا\u200d", "رضا"),  # noqa: RUF001
        ("علی\u200c\u200cرضا", "علیرضا"),  # noqa: RUF001
        # Kept for an emoji, whatever this Python's tables know.
        ("Sam \U0001fae9", "Sam \U0001fae9"),
        ("Sam \U0001fafd", "Sam \U0001fafd"),
        ("unassigned \u0378", "unassigned"),
        ("x" * 256, "x" * 255),
        ("x" * 254 + " y", "x" * 254),
        (["", 7, "Bob"], "Bob"),
    ],
)
def test_a_name_is_cleaned(claimed: object, shown: str) -> None:
    assert shown_name(claimed) == shown


@pytest.mark.parametrize(
    "claimed", ["", " ", "\u3000\u00a0", "\u200d", "\u00ad\u200b", "\u2800", "\u0301", 7, True, None, {}, [], [1], 1.5]
)
def test_a_name_of_which_nothing_is_seen_is_none(claimed: object) -> None:
    assert shown_name(claimed) is None


@given(st.text(max_size=300))
def test_a_name_is_short_visible_and_cleaned_once(claimed: str) -> None:
    name = shown_name(claimed)
    if name is None:
        return
    assert 0 < len(name) <= LONGEST_NAME
    assert name == name.strip()
    assert shown_name(name) == name
    assert not any(unicodedata.category(one) in ("Cc", "Zl", "Zp", "Co", "Cs") for one in name)
    assert not any(unicodedata.bidirectional(one) in ("LRE", "RLE", "LRO", "RLO", "LRI", "RLI", "FSI") for one in name)


@pytest.mark.parametrize(
    ("claimed", "address"),
    [
        ("alice@acme.com", "alice@acme.com"),
        (" alice@acme.com\n", "alice@acme.com"),
        ("jürgen@müller.example", "jürgen@müller.example"),
        (["alice@acme.com", "a@b.example"], "alice@acme.com"),
        (["", "a@b.example"], "a@b.example"),
    ],
)
def test_a_mail_address_is_taken_as_it_is(claimed: object, address: str) -> None:
    assert mail_address(claimed) == address


@pytest.mark.parametrize(
    "claimed",
    [
        "",
        "alice",
        "@acme.com",
        "alice@",
        "al\u00adice@acme.com",
        "alice\u200d@acme.com",
        "ali\u00a0ce@acme.com",
        "ali\u202ece@acme.com",
        "x" * 320 + "@acme.com",
        7,
        None,
        False,
        {"address": "alice@acme.com"},
    ],
)
def test_an_address_that_would_have_to_be_changed_is_left_out(claimed: object) -> None:
    assert mail_address(claimed) is None
