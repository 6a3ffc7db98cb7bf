"""Files of the run's workspace, read in parts that are shown whole."""

import pytest

from taskforce.core.interfaces.tools import ToolFailure
from tests.taskforce.infrastructure.tools.tool_context import BUILTIN, Files, call, lent


async def test_what_was_written_is_listed_and_read() -> None:
    context = lent()
    assert await call("write_file", context, path="a/b.txt", content="Grüße") == "Wrote 7 bytes to a/b.txt."
    assert await call("list_files", context) == [
        {"path": "a/b.txt", "size": 7, "updated_at": "2026-03-01T23:30:00+00:00"}
    ]
    assert await call("read_file", context, path="a/b.txt") == "Grüße"


async def test_a_long_file_is_read_on_from_where_it_was_left() -> None:
    context = lent(workspace=Files({"a": b"x" * 7_000 + b"y" * 10}))
    first = await call("read_file", context, path="a")
    assert first == "x" * 7_000 + "\n[... more follows; read on with read_file(path='a', offset=7000) ...]"
    assert await call("read_file", context, path="a", offset=7_000) == "y" * 10


async def test_a_part_of_a_file() -> None:
    context = lent(workspace=Files({"a": "äöü".encode()}))
    part = await call("read_file", context, path="a", offset=1, length=1)
    assert part == "ö\n[... more follows; read on with read_file(path='a', offset=2) ...]"
    with pytest.raises(ToolFailure, match="only 3 characters"):
        await call("read_file", context, path="a", offset=3)


async def test_an_empty_file_and_one_that_is_no_text_can_be_read() -> None:
    context = lent(workspace=Files({"empty": b"", "binary": b"\xff\x00"}))
    assert await call("read_file", context, path="empty") == ""
    assert await call("read_file", context, path="binary") == "\ufffd\x00"


async def test_text_that_is_not_unicode_is_written_all_the_same() -> None:
    context = lent()
    await call("write_file", context, path="a", content="\ud800")
    assert await call("read_file", context, path="a") == "?"


async def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ToolFailure, match="no file"):
        await call("read_file", path="a")


def test_their_schemas() -> None:
    specs = BUILTIN.specs()
    path = {"type": "string", "minLength": 1, "maxLength": 512}
    assert specs["list_files"].parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert specs["write_file"].parameters == {
        "type": "object",
        "properties": {
            "path": {**path, "description": "Where, for example notes/plan.md."},
            "content": {"type": "string", "description": "The whole text."},
        },
        "required": ["path", "content"],
        "additionalProperties": False,
    }
    assert specs["read_file"].parameters == {
        "type": "object",
        "properties": {
            "path": {**path, "description": "Which, as list_files shows it."},
            "offset": {
                "type": "integer",
                "minimum": 0,
                "default": 0,
                "description": "Where to begin, in characters.",
            },
            "length": {
                "type": "integer",
                "minimum": 1,
                "maximum": 7000,
                "default": 7000,
                "description": "How many characters at most.",
            },
        },
        "required": ["path"],
        "additionalProperties": False,
    }
