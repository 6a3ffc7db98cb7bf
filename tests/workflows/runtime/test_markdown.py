"""What people have written is shown to operators as they wrote it, not as Markdown."""

import pytest

from workflows.runtime.markdown import SUMMARY_BYTES, escaped, summary


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Publish counter 1.0.0-rc.1", "Publish counter 1.0.0-rc.1"),
        ("[click](http://evil)", r"\[click\]\(http\://evil\)"),
        ("[x](javascript:alert(1))", r"\[x\]\(javascript:alert\(1\)\)"),
        ("![pixel](x.png)", r"\!\[pixel\]\(x.png\)"),
        ("see https://evil.example, WWW.evil.example or a@evil.example",
         r"see https\://evil.example, WWW\.evil.example or a\@evil.example"),
        ("<img src=x>\n\n# **Big**", r"\<img src=x\> \# \*\*Big\*\*"),
        ("`code` ~~gone~~", r"\`code\` \~\~gone\~\~"),
        ("a | b", r"a \| b"),
        ("&lt;b&gt;", r"\&lt;b\&gt;"),
        ("- one", r"\- one"),
        ("7. seven", r"7\. seven"),
        ("---", r"\---"),
        ("one\u2028two\r\n\tthree", "one two three"),
        ("a\\b_c", r"a\\b\_c"),
        ("pay \u202e999\u200b", r"pay \\u202e999\\u200b"),
    ],
)  # fmt: skip
def test_no_word_is_markup(text: str, shown: str) -> None:
    assert escaped(text) == shown


@pytest.mark.parametrize("text", ["short", "é" * 1_000, "*" * 1_000, "[" * 199 + "x"])
def test_a_summary_fits(text: str) -> None:
    shown = summary(text)
    assert len(shown.encode()) <= SUMMARY_BYTES
    assert shown.removesuffix("…") == escaped(text)[: len(shown.removesuffix("…"))]
    assert shown.removesuffix("…").count("\\") % 2 == 0 or not shown.removesuffix("…").endswith("\\")
