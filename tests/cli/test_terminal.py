import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.markdown import Markdown

from cli.terminal import Safe, clean, one_line
from taskforce.core.domain.visible_text import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("a\x1b[31;1mb\x1b[0m", "ab"),
        ("a\x1b]8;;http://evil\x1b\\link\x1b]8;;\x07", "alink"),
        ("a\x1bP1$r\x9cb", "ab"),
        ("a\x1b]0;never ended", "a0;never ended"),
        ("a\x9b2Jb\x85c", "abc"),
        ("a\r\nb\rc", "a\nbc"),
        ("\u202eabc\u2066d\u200b", "abcd"),
        ("\ud800x", "x"),
        ("half an escape \x1b", "half an escape "),
    ],
)
def test_what_a_terminal_would_obey_is_taken_out(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text())
def test_nothing_else_gets_through_and_cleaning_twice_changes_nothing(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert all(character.isprintable() or character in "\n\t" or ord(character) > 0x9F for character in cleaned)


@given(st.text())
def test_what_is_shown_exactly_can_be_read_back_and_moves_nothing(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert clean(shown) == shown
    # As JSON has it: what is escaped stands for itself, and nothing is left out.
    assert json.loads(f'"{visible(json.dumps(text, ensure_ascii=False)[1:-1])}"') == text


def test_half_of_a_character_is_shown_too() -> None:
    assert visible("a\ud800b\tc") == "a\\ud800b\\tc"


def test_one_line_is_short() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("abcdef", 4) == "abc…"


def test_markdown_cannot_bring_controls_by_entities_or_links() -> None:
    text = "a &#x202e;b &#27;[31m c [click](http://evil) <http://x>"
    console = Console(force_terminal=True, width=200, color_system=None)
    with console.capture() as capture:
        console.print(Safe(Markdown(text, hyperlinks=False)))
    assert not {"\u202e", "\x1b"} & set(capture.get())
    assert "http://evil" in capture.get()
