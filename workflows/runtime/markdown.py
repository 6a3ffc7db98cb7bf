"""Other people's words in what the Temporal UI renders as Markdown, in an operator's browser."""

import re

SUMMARY_BYTES = 400
"""What Temporal takes of a summary."""

_MARKUP = re.compile(r"([\\`*_\[\]()<>#|!~&@]|:(?=//)|(?<=\bwww)\.)", re.IGNORECASE)
# A list or a rule begins so, where the text begins a line.
_BEGINNING = re.compile(r"^(\d{0,9})([-+=.])")


def escaped(text: str) -> str:
    """A text on one line, shown as it was written: no link, image, element, list or emphasis of its own."""
    one_line = " ".join(text.split())
    return _BEGINNING.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", one_line))


def summary(text: str) -> str:
    """A text as `escaped` shows it, cut to what Temporal takes of a summary."""
    shown = escaped(text)
    while len(shown.encode("utf-8", "replace")) > SUMMARY_BYTES:
        text = text[: len(text) * 9 // 10]
        shown = f"{escaped(text)}…"
    return shown
