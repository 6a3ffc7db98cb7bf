"""Read model of a run: its steps, plan, results, files and milestones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from taskforce.application.identity.principals import Actor
from taskforce.application.runs.workspace import checked_path
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.ids import missing
from taskforce.core.domain.metering.usage import StepUsage
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.records import Event, RunFilter
from taskforce.core.domain.runs.reply import TEXT_KEPT
from taskforce.core.domain.runs.run import Run
from taskforce.core.domain.runs.todo import TODO_TOOL, TodoList
from taskforce.core.domain.runs.transcript import CallStatus, Entry, EntryKind
from taskforce.core.interfaces.llm import RequestedCall
from taskforce.core.interfaces.store import Store
from taskforce.core.interfaces.tools import StoredFile, ToolFailure

WHOLE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class CallSeen:
    """A tool call and, once it is finished, its observation.

    Attributes:
        number: Its number within the step, from 1.
        asked: The call as the model requested it.
        observed: The observation; None while the call is not finished.
    """

    number: int
    asked: RequestedCall
    observed: Entry | None


@dataclass(frozen=True, slots=True)
class StepSeen:
    """A step of a run.

    Attributes:
        step: Its number, from 1.
        thought: The text of the model's reply.
        calls: The tool calls, in order.
        words: The messages of people that the model received in this step.
        duration_ms: Milliseconds of the model call and of the longest tool call.
        usage: Tokens and cost of the model calls, all attempts together.
        todo: The plan, if this step wrote one.
        at: The time of the model's reply, UTC.
        thought_cut: Whether `thought` is only the beginning of the reply's text.
        dropped: Tool calls beyond the limit of a reply, which are not stored.
    """

    step: int
    thought: str
    calls: tuple[CallSeen, ...]
    words: tuple[Entry, ...]
    duration_ms: int
    usage: StepUsage
    todo: TodoList | None
    at: datetime
    thought_cut: bool = False
    dropped: int = 0


async def list_runs(store: Store, actor: Actor, which: RunFilter, page: Page) -> Sequence[Run]:
    """Lists a page of the runs of the actor's tenant, newest first."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.runs.page(which, page)


async def read_steps(store: Store, run: Run, after: int, most: int) -> Sequence[StepSeen]:
    """Reads steps of a run in order.

    Args:
        store: The tenants' data.
        run: The run.
        after: The step before the first one; 0 for the start.
        most: Steps at most.
    """
    run_id = run.spec.run_id
    async with store.tenant(run.spec.tenant_id) as records:
        entries = await records.transcripts.range(run_id, after, most)
        spent = await records.usage.of_steps(run_id, after + 1, after + most)
    usage = {one.step: one for one in spent}
    steps = groupby(entries, key=lambda entry: entry.step)
    return tuple(_step(step, tuple(of_step), usage.get(step, StepUsage(step))) for step, of_step in steps)


async def read_todo(store: Store, run: Run) -> TodoList:
    """Reads the plan that the agent wrote last; an empty one where it wrote none."""
    run_id = run.spec.run_id
    async with store.tenant(run.spec.tenant_id) as records:
        written = await records.transcripts.last_plan(run_id)
        reply = await records.transcripts.entry(run_id, written.step, 0) if written else None
    if written is None or reply is None:
        return TodoList()
    return _plan(CallSeen(written.call, reply.tool_calls[written.call - 1], written)) or TodoList()


async def read_answer_step(store: Store, run: Run) -> int | None:
    """Finds the step whose result 0 is the whole answer; None where the run's row holds all of it."""
    if run.answer is None or len(run.answer) <= TEXT_KEPT:
        return None
    async with store.tenant(run.spec.tenant_id) as records:
        reply = await records.transcripts.last_reply(run.spec.run_id)
    return reply.step if reply is not None and reply.whole_size is not None else None


async def read_result(store: Store, run: Run, step: int, call: int) -> str:
    """Reads the whole result of a tool call, or with call 0 the whole text of the step's reply.

    Args:
        store: The tenants' data.
        run: The run.
        step: The step, from 1.
        call: The call within the step, from 1, or 0.

    Raises:
        Missing: `result_not_found`.
    """
    run_id = run.spec.run_id
    async with store.tenant(run.spec.tenant_id) as records:
        # Only results that were cut are stored whole; of the others the transcript has all.
        whole = await records.results.read(run_id, step, call, 0, WHOLE)
        if whole is not None:
            return whole
        entry = await records.transcripts.entry(run_id, step, call)
    if entry is None or entry.kind not in {EntryKind.OBSERVATION, EntryKind.REPLY}:
        raise missing("result")
    return entry.text


async def list_files(store: Store, run: Run) -> Sequence[StoredFile]:
    """Lists the files of the run's workspace."""
    async with store.tenant(run.spec.tenant_id) as records:
        return await records.files.list(run.spec.run_id)


async def read_file(store: Store, run: Run, path: str) -> tuple[str, bytes]:
    """Reads a file of the run's workspace.

    Returns:
        Its path as stored, and its content.

    Raises:
        Missing: `file_not_found`.
    """
    try:
        known = checked_path(path)
    except ToolFailure:
        raise missing("file") from None
    async with store.tenant(run.spec.tenant_id) as records:
        content = await records.files.read(run.spec.run_id, known)
    if content is None:
        raise missing("file")
    return known, content


async def read_events(store: Store, run: Run, after: int, most: int) -> tuple[Sequence[Event], bool]:
    """Reads the milestones of a run after a position.

    Args:
        store: The tenants' data.
        run: The run.
        after: The number of the last milestone that the reader has; 0 for all.
        most: Milestones at most.

    Returns:
        The milestones, and whether they are the last ones: the run has ended or was erased.
    """
    run_id = run.spec.run_id
    async with store.tenant(run.spec.tenant_id) as records:
        events = await records.events.after(run_id, after, most)
        if events:
            return events, False
        current = await records.runs.get(run_id)
        # Read again after the status: the last milestone is committed together with the final status, and would be
        # missed if that happened between the first read and the read of the row.
        return await records.events.after(run_id, after, most), current is None or current.status.is_final


def _step(step: int, entries: Sequence[Entry], usage: StepUsage) -> StepSeen:
    reply = next((entry for entry in entries if entry.kind is EntryKind.REPLY), None)
    observed = {entry.call: entry for entry in entries if entry.kind is EntryKind.OBSERVATION}
    asked = reply.tool_calls if reply else ()
    calls = tuple(CallSeen(number, call, observed.get(number)) for number, call in enumerate(asked, start=1))
    # The calls of a step run side by side, so the longest one counts.
    took = max((entry.duration_ms or 0 for entry in observed.values()), default=0)
    plans = [plan for plan in map(_plan, calls) if plan is not None]
    return StepSeen(
        step=step,
        thought=reply.text if reply else "",
        calls=calls,
        words=tuple(entry for entry in entries if entry.kind is EntryKind.WORD),
        duration_ms=((reply.duration_ms or 0) if reply else 0) + took,
        usage=usage,
        todo=plans[-1] if plans else None,
        at=reply.at if reply else entries[-1].at,
        thought_cut=reply is not None and reply.whole_size is not None,
        dropped=reply.dropped if reply else 0,
    )


def _plan(call: CallSeen) -> TodoList | None:
    written = call.observed is not None and call.observed.status is CallStatus.SUCCEEDED
    if not written or call.asked.name != TODO_TOOL:
        return None
    try:
        return TodoList.written(json.loads(call.asked.arguments)["items"])
    # The arguments are the model's text; a plan that does not parse was refused then, and is no plan now.
    except (ValueError, TypeError, KeyError, AttributeError, Invalid):
        return None
