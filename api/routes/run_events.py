"""Route of a run's live event stream."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response

from api.auth.caller import Context
from api.routes.runs import Reader, find_run
from api.run_stream import MEDIA_TYPE, EventStreamResponse, RunStream
from taskforce.core.domain.errors import Invalid

Documented = dict[int | str, dict[str, Any]]

router = APIRouter(prefix="/runs/{run_id}", tags=["runs"])

LARGEST_EVENT = 10**15
_EVENT_ID = re.compile(r"[0-9]{1,15}")
_EVENTS: Documented = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}}


def resume_point(
    last: Annotated[str | None, Header(alias="Last-Event-ID", description="Go on after this event")] = None,
    after: Annotated[
        int | None, Query(ge=0, le=LARGEST_EVENT, description="The same, for those without headers")
    ] = None,
) -> int:
    """Returns the milestone after which a stream resumes: the header's, which browsers send themselves, or the query's.

    Raises:
        Invalid: `last_event_id_invalid`.
    """
    if last is None:
        return after or 0
    if not _EVENT_ID.fullmatch(last):
        raise Invalid("last_event_id_invalid", "Last-Event-ID is the id of an event of this stream: a number.")
    return int(last)


@router.get("/events", response_class=Response, responses=_EVENTS, name="follow_run")
async def follow_run(
    run_id: str, caller: Reader, context: Context, after: Annotated[int, Depends(resume_point)]
) -> EventStreamResponse:
    """Streams server-sent events: stored milestones with ids, the model's text (`token`) without. Ends with the run.

    429 `streams_limited` where the caller, or its tenant, has too many open.
    """
    run = await find_run(context, caller, run_id)
    place = context.in_flight.streams.take(caller.tenant_id, caller.user_id)
    return EventStreamResponse(RunStream(context, caller, run, after).pieces(), place)
