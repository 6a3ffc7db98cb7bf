"""Identifiers: time-ordered for rows, derived for effects."""

import os
import re
import time
import uuid

from taskforce.core.domain.errors import Missing

_CANONICAL = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EFFECTS = uuid.UUID("0192f0c1-7a5e-7c44-9d0a-6f1f6a4f2b11")


def new_id() -> str:
    """Generates a UUIDv7 (RFC 9562, sections 5.7 and 6.2, method 3): ids sort by time of creation.

    The twelve bits after the version hold the fraction of the millisecond, to a quarter of a microsecond.

    Returns:
        The canonical text, 36 characters.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    # 62 random bits: two processes in the same quarter of a microsecond must not make the same id.
    random = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    value = milliseconds << 80 | 0x7 << 76 | (rest * 4_096 // 1_000_000) << 64 | 0b10 << 62 | random
    return str(uuid.UUID(int=value))


def effect_id(run_id: str, step: int, call: int) -> str:
    """Derives the id of a tool call's effect, so that a retry finds the effect instead of repeating it.

    Args:
        run_id: The run.
        step: Its step, from 1.
        call: The call within the step, from 1.

    Returns:
        A UUIDv5 in canonical text.
    """
    return str(uuid.uuid5(_EFFECTS, f"{run_id}/{step}/{call}"))


def is_id(text: str) -> bool:
    """Tells whether a text is an id in the form of `new_id` and `effect_id`, in either case."""
    return _CANONICAL.fullmatch(text) is not None


def is_addressable(text: str) -> bool:
    """Tells whether an id can be named in a URL's path, where clients take dots alone for steps between folders."""
    return text not in {".", ".."}


def parse_id(text: str, what: str) -> str:
    """Validates and normalises an id that a caller sent.

    Args:
        text: The id from a path or a body.
        what: The noun for the error, for example `run`.

    Returns:
        Canonical lower-case text.

    Raises:
        Missing: `<what>_not_found`: a malformed id is answered like one that does not exist.
    """
    if not is_id(text):
        raise missing(what)
    return text.lower()


def missing(what: str) -> Missing:
    """Makes the error for a resource that does not exist, or not for this caller.

    Args:
        what: The noun, for example `run`.

    Returns:
        The error, without the id, so that another tenant's id and a made-up one are answered byte for byte alike.
    """
    return Missing(f"{what.replace(' ', '_')}_not_found", f"There is no such {what}.")
