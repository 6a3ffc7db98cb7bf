"""Cleaning of display names and mail addresses that identity providers send.

Directories hold what somebody once pasted: wide and no-break spaces, joiners, soft hyphens, emoji. None of it decides
about rights, so it is cleaned or left out, and never a reason to keep somebody out.
"""

import unicodedata
from collections.abc import Iterator
from typing import Final

LONGEST_NAME: Final = 255
LONGEST_EMAIL: Final = 320

_JOINERS: Final = frozenset("\u200c\u200d")
_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Characters that are letters or symbols by category, and render as nothing."""
_LONGEST_READ: Final = 4 * LONGEST_NAME
_MOST_MARKS: Final = 4


def shown_name(value: object) -> str | None:
    """Cleans a display name: removes invisible and direction-changing characters, and collapses spaces.

    Args:
        value: The claim. Of a list the first that is usable counts.

    Returns:
        The name, of at most 255 characters, or None when nothing visible is left.
    """
    return next((name for name in map(_name, _each(value)) if name), None)


def mail_address(value: object) -> str | None:
    """Returns a mail address, or None when the claim is none: a corrected address would be somebody else's.

    Args:
        value: The claim. Of a list the first that is usable counts.
    """
    return next((email for email in map(_email, _each(value)) if email), None)


def _each(value: object) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            yield one


def _email(value: str) -> str | None:
    email = value.strip()
    name, _, domain = email.rpartition("@")
    plain = email.isprintable() and not any(letter.isspace() or letter in _BLANK_LETTERS for letter in email)
    return email if name and domain and plain and len(email) <= LONGEST_EMAIL else None


def _name(value: str) -> str:
    if value.isascii() and value.isprintable() and len(value) <= LONGEST_NAME:
        return " ".join(value.split())
    # Composed first (NFC), so that the cut to length does not separate a letter from its accent.
    text = unicodedata.normalize("NFC", value[:_LONGEST_READ])
    spaced = "".join(" " if _is_space(letter) else letter for letter in text)
    words = " ".join("".join(_visible(spaced)).split())[:LONGEST_NAME]
    name = "".join(_joined(words)).strip()
    return name if any(unicodedata.category(letter)[0] in "LNSPC" and letter not in _JOINERS for letter in name) else ""


def _is_space(letter: str) -> bool:
    return letter.isspace() or letter in _BLANK_LETTERS


def _visible(text: str) -> Iterator[str]:
    marks = 0
    for letter in text:
        # Stacked accents ("Zalgo" text) run over the lines above and below.
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if marks <= _MOST_MARKS and (letter.isprintable() or letter in _JOINERS or _is_pictograph(letter)):
            yield letter


def _is_pictograph(letter: str) -> bool:
    """Returns whether a character is an emoji or reserved for one (emoji-data.txt), whatever Python's tables."""
    return "\U0001f000" <= letter <= "\U0001faff" or "\U0001fc00" <= letter <= "\U0001fffd"


def _joined(text: str) -> Iterator[str]:
    """Keeps joiners where they carry meaning: within scripts that are written with them, and within an emoji."""
    for at, letter in enumerate(text):
        around = text[at - 1 : at] + text[at + 1 : at + 2]
        if letter not in _JOINERS or (len(around) == 2 and not _JOINERS & set(around) and _takes_joiners(around)):  # noqa: PLR2004
            yield letter


def _takes_joiners(around: str) -> bool:
    return not any(
        letter.isascii() or unicodedata.name(letter, "").startswith(("LATIN", "GREEK", "CYRILLIC")) for letter in around
    )
