"""Routes of a run's steps, plan, results and files."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Response

from api.auth.caller import Context
from api.routes.runs import Reader, find_run
from api.schemas.pages import ListOut, PageOut
from api.schemas.run_steps import StepOut, TodoOut, step_out, todo_out
from api.schemas.runs import FileOut
from api.web.pagination import LARGEST_STEP, Cursor, Limit, page, parse_step, step_cursor
from taskforce.application.runs import history

Documented = dict[int | str, dict[str, Any]]

router = APIRouter(prefix="/runs/{run_id}", tags=["runs"])

Number = Annotated[int, Path(ge=0, le=LARGEST_STEP)]
_BINARY: Documented = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
_TEXT: Documented = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/steps", name="list_steps")
async def list_steps(
    run_id: str, caller: Reader, context: Context, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[StepOut]:
    """Lists the steps of a run, in order: thoughts, tool calls, observations, tokens and durations."""
    after = parse_step(cursor)
    run = await find_run(context, caller, run_id)
    found = await history.read_steps(context.database, run, after, limit + 1)
    shown = (step_out(run.spec.run_id, step) for step in found[:limit])
    return page(PageOut[StepOut], shown, found=found, limit=limit, cursor_of=lambda last: step_cursor(last.step))


@router.get("/todo", name="read_todo")
async def todo(run_id: str, caller: Reader, context: Context) -> ListOut[TodoOut]:
    """Returns the agent's plan as it wrote it last."""
    plan = await history.read_todo(context.database, await find_run(context, caller, run_id))
    return ListOut[TodoOut](items=todo_out(plan))


@router.get("/files", name="list_files")
async def list_files(run_id: str, caller: Reader, context: Context) -> ListOut[FileOut]:
    """Lists the files of the run's workspace."""
    files = await history.list_files(context.database, await find_run(context, caller, run_id))
    return ListOut[FileOut](
        items=[FileOut(path=file.path, size=file.size, updated_at=file.updated_at) for file in files]
    )


@router.get("/files/{path:path}", response_class=Response, responses=_BINARY, name="read_file")
async def read_file(run_id: str, path: str, caller: Reader, context: Context) -> Response:
    """Returns one file of the workspace as an attachment: an agent wrote it, so no browser may render it."""
    run = await find_run(context, caller, run_id)
    known, content = await history.read_file(context.database, run, path)
    name = quote(known.rpartition("/")[2], safe="")
    # An agent may write HTML; shown by a browser it would act for whoever opens it.
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(content, headers=headers, media_type="application/octet-stream")


@router.get("/results/{step}/{call}", response_class=Response, responses=_TEXT, name="read_result")
async def result(run_id: str, step: Number, call: Number, caller: Reader, context: Context) -> Response:
    """Returns a tool's whole result, of which the model may have seen an excerpt; call 0 is the text of the reply."""
    run = await find_run(context, caller, run_id)
    whole = await history.read_result(context.database, run, step, call)
    return Response(whole, media_type="text/plain")
