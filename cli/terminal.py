"""What may reach a person's terminal, and through which console."""

import csv
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from taskforce.core.domain.visible_text import visible

_SEQUENCES: Final = re.compile(
    r"\x1b[PX^_\]][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # strings such as window titles and links
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
_PLAIN_WIDTH: Final = 10_000


def clean(text: str) -> str:
    """Takes out of a text whatever a terminal would obey, or that shows it in another order than it has.

    Args:
        text: From a model, a tool or a person.

    Returns:
        The text with its lines and tabs, without escape sequences, control and invisible characters.
    """
    return _CONTROLS.sub("", _SEQUENCES.sub("", text.replace("\r\n", "\n")))


def one_line(text: str, longest: int = 200) -> str:
    """Puts a text on one line of limited length.

    Args:
        text: Any text; it is cleaned.
        longest: Characters, 2 or more.
    """
    line = " ".join(clean(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def is_plain() -> bool:
    """Returns whether the output is to hold no control sequences: it is no terminal, or NO_COLOR asks for it."""
    return not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def console() -> Console:
    """Builds the console on stdout. Plain ones neither style nor cut anything."""
    if not is_plain():
        return Console(markup=False, highlight=False, emoji=False)
    # Rich would cut tables to 80 columns in a pipe, where programs read whole values.
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(
        markup=False,
        highlight=False,
        emoji=False,
        force_terminal=False,
        color_system=None,
        width=width,
        legacy_windows=False,
    )


def errors() -> Console:
    """Builds the console on stderr, for people."""
    plain = not sys.stderr.isatty() or bool(os.environ.get("NO_COLOR"))
    return Console(
        stderr=True,
        markup=False,
        highlight=False,
        emoji=False,
        force_terminal=False if plain else None,
        color_system=None if plain else "auto",
    )


def complain(text: str, style: str = "") -> None:
    """Writes a line for people on stderr."""
    errors().print(clean(text), style=style, soft_wrap=True)


def write_json(document: Mapping[str, object]) -> None:
    """Writes one JSON document as one line on stdout; all but printable ASCII is escaped, so it needs no cleaning."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def write_csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Writes a table as CSV on stdout.

    Args:
        columns: The names of the columns.
        rows: The rows; texts that others have written are cells already.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    sys.stdout.flush()


def exact_json(value: object) -> str:
    """Formats JSON for a person who must see all of it; see `visible`.

    Args:
        value: What a JSON parser returned.
    """
    # The only line breaks are those of the format: in texts they are escapes already.
    return "\n".join(map(visible, json.dumps(value, ensure_ascii=False, indent=2).split("\n")))


class Safe:
    """Shows something rich whose renderer may bring control characters of its own, such as Markdown's entities.

    Args:
        content: What is shown.
    """

    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return self._cleaned(console.render(self._content, options))

    def _cleaned(self, segments: Iterable[Segment]) -> Iterable[Segment]:
        for segment in segments:
            if not segment.control:
                yield Segment(clean(segment.text), segment.style)
