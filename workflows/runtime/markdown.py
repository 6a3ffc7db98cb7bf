"""Escaping of untrusted text for the Temporal UI, which renders Markdown in an operator's browser."""

import re

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from taskforce.core.domain.visible_text import visible

SUMMARY_BYTES = 400
"""Longest summary that Temporal accepts, in bytes."""

_MARKUP = re.compile(r"([\\`*_\[\]()<>#|!~&@]|:(?=//)|(?<=\bwww)\.)", re.IGNORECASE)
# Markup of lists and rules, which counts at the beginning of a line only.
_BEGINNING = re.compile(r"^(\d{0,9})([-+=.])")


def escaped(text: str) -> str:
    """Escapes a text to one line of literal Markdown, without links, images, elements, lists or emphasis.

    What is not drawn, or turns the direction of text, is shown as an escape.
    """
    one_line = visible(" ".join(text.split()))
    return _BEGINNING.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", one_line))


def summary(text: str) -> str:
    """Escapes a text and cuts it to the longest summary that Temporal accepts."""
    shown = escaped(text)
    while len(shown.encode("utf-8", "replace")) > SUMMARY_BYTES:
        # The text is cut before it is escaped: a cut of escaped text could end within an escape.
        text = text[: len(text) * 9 // 10]
        shown = f"{escaped(text)}…"
    return shown
