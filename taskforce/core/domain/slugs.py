"""Slugs that people can read and type, derived from names in any script."""

import hashlib
import re
import unicodedata
from typing import Final

_CYRILLIC: Final = (
    "а a б b в v г g д d е e ж zh з z и i й i к k л l м m н n о o п p р r с s т t у u ф f х kh ц ts ч ch ш sh щ shch ъ - "
    "ы y ь - э e ю yu я ya є ie і i ґ g ђ dj ј j љ lj њ nj ћ c џ dz ѕ dz ў u ә a ғ gh қ q ң ng ө o ұ u ү u һ h"
)
_GREEK: Final = "α a β v γ g δ d ε e ζ z η i θ th ι i κ k λ l μ m ν n ξ x ο o π p ρ r σ s ς s τ t υ y φ f χ ch ψ ps ω o"
_ARABIC: Final = (
    "ا a ب b ت t ث th ج j ح h خ kh د d ذ dh ر r ز z س s ش sh ص s ض d ط t ظ z ع a غ gh ف f ق q ك k ل l م m ن n ه h و w "
    "ي y ى a ة h ء - ٱ a پ p چ ch ژ zh گ g ک k ی y ٹ t ڈ d ڑ r ں n ے e ہ h ھ h ـ -"
)
_HEBREW: Final = (
    "א a ב b ג g ד d ה h ו v ז z ח ch ט t י y כ k ך k ל l מ m ם m נ n ן n ס s ע a פ p ף f צ ts ץ ts ק k ר r ש sh ת t"
)
_LATIN: Final = "ß ss æ ae œ oe ø o đ d ð d þ th ł l ı i ŋ ng"

_SPELT: Final = re.compile(r"(?:HANGUL SYLLABLE|(?:HIRAGANA|KATAKANA) LETTER(?: SMALL)?) ([A-Z]+)")
"""Unicode names that contain the romanisation of the character."""


_GAP: Final = re.compile(r"[^a-z0-9]+")
_LONGEST: Final = 64
_DIGITS: Final = 8


def _table(*alphabets: str) -> dict[str, str]:
    words = " ".join(alphabets).split()
    # A hyphen stands for a letter that is left out, such as the Cyrillic signs.
    return {letter: "" if latin == "-" else latin for letter, latin in zip(words[::2], words[1::2], strict=True)}


_TABLE: Final = _table(_CYRILLIC, _GREEK, _ARABIC, _HEBREW, _LATIN)


def derived(name: str) -> str:
    """Derives a slug from a name; empty when the name has neither letters nor digits.

    Letters of other alphabets are romanised, see `romanised`. Where that is not possible, as for Chinese characters,
    eight hexadecimal digits of the name's hash stand for them, so that equal names have equal slugs and different
    names different ones: `客服 bot` becomes `bot-6ffd7daa`.
    """
    latin, complete = romanised(name)
    plain = _GAP.sub("-", latin).strip("-")
    if complete:
        return plain[:_LONGEST].strip("-")
    digest = hashlib.sha256(unicodedata.normalize("NFKC", name).casefold().encode(errors="replace")).hexdigest()
    return f"{plain[: _LONGEST - _DIGITS - 1].strip('-') or 'agent'}-{digest[:_DIGITS]}"


def romanised(text: str) -> tuple[str, bool]:
    """Romanises a text to lower-case ASCII letters and digits; accents are dropped, other characters kept.

    Args:
        text: Text in any script.

    Returns:
        The text, and whether it is complete: letters without a romanisation are left out.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    written, complete = [], True
    for character in folded:
        latin = _latin(character)
        complete = complete and latin is not None
        written.append(latin or "")
    return "".join(written), complete


def _latin(character: str) -> str | None:
    """Romanises one character; None for a letter or digit without a romanisation here."""
    if character.isascii() or unicodedata.combining(character):
        return "" if unicodedata.combining(character) else character
    if character in _TABLE:
        return _TABLE[character]
    if spelt := _SPELT.fullmatch(unicodedata.name(character, "")):
        return spelt[1].lower()
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    bare = [part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)]
    if bare != [character]:
        parts = [_latin(part) for part in bare]
        return None if None in parts else "".join(part or "" for part in parts)
    return None if unicodedata.category(character)[0] in "LN" else "-"
