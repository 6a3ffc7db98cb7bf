"""Strict decoders of a token's base64url and JSON, where the standard library is lenient.

Everything here raises ValueError for what it refuses; the callers turn that into their own error.
"""

import base64
import json
import math
import re

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_NUMBER = 32
_DEEPEST = 16


def decode_base64url(text: str) -> bytes:
    """Decodes base64url without padding, in its one canonical spelling (RFC 4648, section 3.5).

    Raises:
        ValueError: Another alphabet, padding, white space, or stray bits at the end.
    """
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The decoder drops stray bits of the last letter, so that several spellings would mean the same bytes.
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode("ascii"):
        raise ValueError("not canonical base64url")
    return data


def decode_json_object(data: bytes) -> dict[str, object]:
    """Decodes a JSON object that every reader understands alike and that can be stored anywhere.

    Raises:
        ValueError: Not UTF-8, not an object, a name twice, a number that is not finite or absurdly long, nesting beyond
            16 levels, or text with NUL or half a surrogate pair (PostgreSQL takes neither).
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_short_int,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if isinstance(value, dict):
        _check_depth_and_text(value)
        return value
    raise ValueError("not an object")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Readers differ in which of two claims of one name counts; RFC 7519, section 4, lets a verifier refuse both.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands twice")
    return result


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if len(text) > _LONGEST_NUMBER or not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def _short_int(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("number too long")
    return int(text)


def _check_depth_and_text(root: dict[str, object]) -> None:
    # Level by level: recursion could run into Python's own limit before ours.
    level: list[object] = [root]
    for _ in range(_DEEPEST):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise ValueError("nested too deeply")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        halves = not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)
        if halves or "\0" in value:
            raise ValueError("text that cannot be stored")
    return []
