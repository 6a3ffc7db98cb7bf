"""What people have written is shown to operators as they wrote it, not as Markdown."""

import pytest

from workflows.approval_details import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Publish counter 1.0.0-rc.1", "Publish counter 1.0.0-rc.1"),
        ("[click](http://evil)", r"\[click\]\(http://evil\)"),
        ("<img src=x>\n\n# **Big**", r"\<img src=x\> \# \*\*Big\*\*"),
        ("a\\b_c", r"a\\b\_c"),
    ],
)
def test_no_word_is_markup(text: str, shown: str) -> None:
    assert plain(text) == shown
