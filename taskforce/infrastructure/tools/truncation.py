"""Parts of long texts, for the model."""

PART = 7_000
"""Characters of one part: so few that an observation with one part in it is not cut again."""


def part(text: str, offset: int, more: bool, read_on: str) -> str:
    """Returns a part of a text, with a note on how to read on.

    Args:
        text: The part.
        offset: Where it begins in the whole, in characters.
        more: Whether something comes after it.
        read_on: The call that reads what comes after it, without its offset: `read_file(path='a.txt', ...`.
    """
    return f"{text}\n[... more follows; read on with {read_on}, offset={offset + len(text)}) ...]" if more else text


def shortened(text: str, limit: int) -> str:
    """Truncates a text of more than `limit` characters, with an ellipsis at its end."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
