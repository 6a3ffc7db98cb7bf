"""How histories are kept: as JSON, one event a line, without the names of machines, processes and files."""

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import cast

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory

Json = dict[str, object]

HISTORIES = Path(__file__).with_name("histories")
# Who did it and where, stack traces with their paths, hashes of the code: nothing of it decides how a history replays.
_LEFT_OUT = frozenset({"identity", "stackTrace", "workerVersion", "binaryChecksum", "taskId"})
_STICKY = "TASK_QUEUE_KIND_STICKY"
_NEXT = {EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW}


def scrubbed(value: object) -> object:
    """A copy of an event without what names the machine that recorded it."""
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: scrubbed(item) for key, item in value.items() if key not in _LEFT_OUT}
    return {**kept, "name": "sticky"} if kept.get("kind") == _STICKY else kept


def save(workflow: str, name: str, history: WorkflowHistory) -> Path:
    """Writes a history; returns the file."""
    path = HISTORIES / workflow / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    events = [json.dumps(scrubbed(event), separators=(",", ":")) for event in history.to_json_dict()["events"]]
    path.write_text('{"events": [\n' + ",\n".join(events) + "\n]}\n")
    return path


def load(path: Path) -> WorkflowHistory:
    """Reads a history; its workflow id stands in its first event."""
    document = json.loads(path.read_text())
    started = document["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], document)


async def chain(client: Client, workflow_id: str) -> AsyncIterator[WorkflowHistory]:
    """The histories of all parts of a workflow, the first part first."""
    run_id: str | None = await _first_run(client, workflow_id)
    while run_id:
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        yield history
        last = history.events[-1]
        following = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        run_id = following if last.event_type in _NEXT else None


async def _first_run(client: Client, workflow_id: str) -> str:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return history.events[0].workflow_execution_started_event_attributes.first_execution_run_id


def ending_of(path: Path) -> str:
    """How the recorded execution ended: the status that it returned, or what became of it."""
    last = json.loads(path.read_text())["events"][-1]
    kind = str(last["eventType"]).removeprefix("EVENT_TYPE_WORKFLOW_EXECUTION_").lower()
    if kind != "completed":
        return kind
    [payload] = last["workflowExecutionCompletedEventAttributes"]["result"]["payloads"]
    result = json.loads(base64.b64decode(payload["data"]))
    return str(result["status"] if isinstance(result, dict) else result)


def readable(path: Path) -> str:
    """Everything that a history says, its payloads decoded."""
    document: Json = json.loads(path.read_text())
    return "\n".join(_texts(document))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            if key == "data" and isinstance(item, str):
                yield base64.b64decode(item).decode(errors="replace")
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)
