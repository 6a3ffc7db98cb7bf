"""The files of a run. They live in its workspace and nowhere else, so no path leads out."""

from typing import Annotated

from pydantic import Field

from taskforce.core.interfaces.tools import ToolContext, ToolFailure
from taskforce.infrastructure.tools.declaration import tool
from taskforce.infrastructure.tools.truncation import PART, part

Path = Annotated[str, Field(min_length=1, max_length=512)]


@tool(quick=True, tags=("files", "write"))
async def write_file(path: Path, content: str, context: ToolContext) -> str:
    """Writes a text file into the workspace of this run, replacing what was there under that path.

    Args:
        path: Where, for example notes/plan.md.
        content: The whole text.
        context: Lent by the product; the model does not see it.
    """
    encoded = content.encode("utf-8", errors="replace")
    await context.workspace.write(path, encoded)
    return f"Wrote {len(encoded)} bytes to {path}."


@tool(quick=True, tags=("files", "read"))
async def read_file(
    path: Path,
    context: ToolContext,
    offset: Annotated[int, Field(ge=0)] = 0,
    length: Annotated[int, Field(ge=1, le=PART)] = PART,
) -> str:
    """Reads a text file of the workspace of this run, or a part of it.

    Args:
        path: Which, as list_files shows it.
        context: Lent by the product; the model does not see it.
        offset: Where to begin, in characters.
        length: How many characters at most.
    """
    text = (await context.workspace.read(path)).decode("utf-8", errors="replace")
    if offset and offset >= len(text):
        raise ToolFailure(f"{path} has only {len(text)} characters.")
    return part(text[offset : offset + length], offset, offset + length < len(text), f"read_file(path={path!r}")


@tool(quick=True, tags=("files", "read"))
async def list_files(context: ToolContext) -> list[dict[str, object]]:
    """Lists the files in the workspace of this run, each with its size in bytes and the time of its last change.

    Args:
        context: Lent by the product; the model does not see it.
    """
    return [
        {"path": file.path, "size": file.size, "updated_at": file.updated_at.isoformat(timespec="seconds")}
        for file in await context.workspace.files()
    ]
