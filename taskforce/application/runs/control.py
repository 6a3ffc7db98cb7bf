"""Control of open runs by people: messages, pause, resume and cancellation, each with its audit event."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from taskforce.application.access.authorization import load_subject
from taskforce.application.idempotency import IdempotentCall, claim
from taskforce.application.identity.principals import Actor, load_principal_for_key
from taskforce.application.late_start import reach
from taskforce.application.runs.lifecycle import RunLifecycle, require_run
from taskforce.core.domain.errors import Conflict, Forbidden, Missing, Unavailable
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.runs.questions import ASKING_TOOL, call_of
from taskforce.core.domain.runs.run import Ending, Run, RunStatus
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.workflows import RunWorkflows

AT_A_TIME = 20
MOST_AT_ONCE = 500
"""Runs that one call of `cancel_all` cancels; a sweeper cancels the others within seconds."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ControlPorts:
    """Dependencies of the use cases in this module.

    Attributes:
        store: The tenants' data.
        workflows: The client of the run workflows.
        lifecycle: Ends the rows of runs that have no workflow.
    """

    store: Store
    workflows: RunWorkflows
    lifecycle: RunLifecycle


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A person's message to a run.

    Attributes:
        text: Its text.
        key: The idempotency key of the HTTP request, if any.
        question: The id of the question that it answers; None answers the oldest open question, if there is one.
        attributes: The attributes that the tenant's policy reads and of which the token claims other values than the
            user's newest one.
    """

    text: str
    key: str | None = None
    question: str | None = None
    attributes: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message that is stored.

    Attributes:
        message_id: The id of the message.
        replayed: Whether an earlier request with the same idempotency key stored it.
        is_unsignalled: Whether the run's workflow must still be signalled.
        question: The id of the question that it answers, if it answers one.
    """

    message_id: str
    replayed: bool = False
    is_unsignalled: bool = True
    question: str | None = None


async def send_message(store: Store, actor: Actor, run: Run, draft: MessageDraft) -> StoredMessage:
    """Stores a message for a run's next model step; the caller signals the workflow after the commit.

    Messages steer a run, which acts with its owner's rights, so only its owner may send them: otherwise an approver
    could have another user's run request what they then approve themselves. For the same reason another API key of the
    owner, or a token that claims fewer roles, may send messages only to runs that have no more permissions than it has;
    and a token with other attributes only to runs that a token with the same ones has started.

    A message may answer only a question that is open when it is stored. Questions open and close under the lock of the
    run's row, so that of two concurrent messages the first answers the first question and the second the next.

    Args:
        store: The tenants' data.
        actor: The user who sends it.
        run: The run.
        draft: The message.

    Raises:
        Missing: `run_not_found`: it was erased meanwhile; `question_not_found`.
        Forbidden: `not_your_run`; `run_may_more`, which names what the key or token lacks or claims otherwise.
        Conflict: `run_finished`; `run_cancelled`: no further step would read it; `question_answered`.
        Invalid: `idempotency_key_reused`.
    """
    run_id, message_id, author_id = run.spec.run_id, new_id(), actor.principal.user.user_id
    if author_id != run.spec.user_id:
        raise Forbidden("not_your_run", "Only whoever started a run may add words to it.")
    async with store.tenant(run.spec.tenant_id) as records:
        by_another_key = actor.principal.is_cut and actor.principal.key_id != run.spec.key_id
        if by_another_key or actor.principal.is_narrowed:
            await _require_as_much(records, run, actor)
        _require_same_attributes(run, draft)
        # Before the run is required to be open: a repeated request gets its first answer also after the run's end.
        earlier = await _earlier(records, actor, run, draft, message_id)
        if earlier is not None:
            return earlier
        # A run ends only if its model has seen all messages; its last reply counts them under the same lock.
        current = await records.runs.locked(run_id)
        if current is None:
            raise missing("run")
        current.require_open()
        # No step would hear it.
        current.require_not_cancelled()
        question = await _answered(records, current, draft.question)
        await records.messages.add(run_id, message_id, author_id, draft.text, actor.now, question=question)
        named = {} if question is None else {"question_id": question}
        data = {"author_id": author_id, "text": draft.text[:500], **named}
        await records.events.append(run_id, "word.added", data, actor.now)
        event = actor.event("run.message", "run", run_id)
        # As content, which the deployment may keep out of the audit log.
        await records.audit.append(replace(event, content={"text": draft.text, **named}))
    return StoredMessage(message_id, question=question)


async def _answered(records: Records, run: Run, named: str | None) -> str | None:
    """Finds the question that a message answers: the one that it names, else the first without an answer."""
    put = [question.question_id for question in run.questions]
    if named is None and not put:
        return None
    answers = await records.messages.answers(run.spec.run_id)
    if named is None:
        return next((question for question in put if question not in answers), None)
    if named in answers or (named not in put and await _was_put(records, run, named)):
        raise Conflict("question_answered", "This question has its answer, or waits for none any more.")
    if named not in put:
        raise missing("question")
    return named


async def _was_put(records: Records, run: Run, named: str) -> bool:
    # Closed questions leave the run's row; the transcript tells them from ids that never existed.
    place = call_of(named)
    observed = None if place is None else await records.transcripts.entry(run.spec.run_id, *place)
    return observed is not None and observed.tool == ASKING_TOOL


async def _require_as_much(records: Records, run: Run, actor: Actor) -> None:
    spec, rules, now = run.spec, actor.rules, actor.now
    # The rights that the run has now, not those it was started with: its next step is authorized by these.
    acts = await load_principal_for_key(records, spec.user_id, spec.key_id, rules, now, claims=spec.claims)
    agent_id = spec.agent.agent_id
    own, other = [
        (await load_subject(records, one, rules=rules, now=now)).permissions_in_runs(agent_id, now)
        for one in (acts, actor.principal)
    ]
    lacking = sorted(one.value for one in own - other)
    if lacking:
        what = "this API key" if actor.principal.is_cut else "this token"
        text = f"This run may do more than {what}, which so does not steer it; lacking: {', '.join(lacking)}."
        raise Forbidden("run_may_more", text, details={"permissions": lacking})


def _require_same_attributes(run: Run, draft: MessageDraft) -> None:
    # What the policy allows the run is allowed with its own attributes, so the token's need not allow it.
    started = run.spec.claimed_attributes or {}
    known = run.spec.claimed_attributes is not None
    other = sorted(name for name, value in draft.attributes.items() if not known or started.get(name) != value)
    if other:
        text = f"The policy of your tenant reads attributes that this token and this run differ in: {', '.join(other)}."
        raise Forbidden("run_may_more", text, details={"attributes": other})


async def _earlier(
    records: Records, actor: Actor, run: Run, draft: MessageDraft, message_id: str
) -> StoredMessage | None:
    """Finds the message that an earlier request with the same idempotency key stored; None where there was none."""
    run_id, author_id = run.spec.run_id, actor.principal.user.user_id
    body = {"text": draft.text} | ({} if draft.question is None else {"question_id": draft.question})
    keyed = IdempotentCall(author_id, f"messages:{run_id}", draft.key, body)
    first = await claim(records, keyed, {"word_id": message_id}, actor.now)
    if first is None:
        return None
    # The first request may have died between its commit and the signal, so a repeated one may have to signal.
    earlier_id = str(first["word_id"])
    heard = await records.transcripts.heard(run_id, earlier_id)
    question = next(
        (one for one, answer in (await records.messages.answers(run_id)).items() if answer == earlier_id), None
    )
    unsignalled = not heard and not run.status.is_final
    return StoredMessage(earlier_id, replayed=True, is_unsignalled=unsignalled, question=question)


async def mark(store: Store, actor: Actor, run: Run, action: str) -> None:
    """Records the audit event of a control action, before the action is sent to the workflow.

    Args:
        store: The tenants' data.
        actor: The user who acts.
        run: The run.
        action: The audit action, for example `run.pause`.

    Raises:
        Conflict: `run_finished`; `run_cancelled`.
    """
    run.require_open()
    run.require_not_cancelled()
    async with store.tenant(run.spec.tenant_id) as records:
        await records.audit.append(actor.event(action, "run", run.spec.run_id))


async def steer(ports: ControlPorts, run: Run, act: Callable[[], Awaitable[None]]) -> None:
    """Calls the run's workflow, starting it first if that has not happened yet.

    Args:
        ports: The dependencies.
        run: The run.
        act: The call; made again after the workflow was started.

    Raises:
        Conflict: `run_finished`: it ended meanwhile.
        Unavailable: Temporal does not answer.
        Missing: `run_not_found`: its workflow was terminated from outside; only `cancel` has an effect then.
    """

    async def begin() -> None:
        current = await require_run(ports.store, run.spec.tenant_id, run.spec.run_id)
        current.require_open()
        await ports.workflows.start(run.spec)

    await reach(act, begin)


async def signal(ports: ControlPorts, run: Run, name: str, *arguments: str) -> None:
    """Sends a signal to a run.

    Args:
        ports: The dependencies.
        run: The run.
        name: The signal: `pause`, `resume` or `add_word`.
        *arguments: The signal's arguments.

    Raises:
        DomainError: As `steer`.
    """
    tenant_id, run_id = run.spec.tenant_id, run.spec.run_id
    await steer(ports, run, lambda: ports.workflows.signal(tenant_id, run_id, name, *arguments))


async def request_cancellation(ports: ControlPorts, actor: Actor, run: Run) -> None:
    """Records that a run is to be cancelled, and requests it; from the commit on no step of it begins.

    The row is the promise: steps look at it, and a sweeper repeats the request where the workflow was not reached,
    because Temporal does not answer or this process dies.

    Args:
        ports: The dependencies.
        actor: The user who cancels it.
        run: The run.

    Raises:
        Missing: `run_not_found`: it was erased meanwhile.
        Conflict: `run_finished`.
    """
    async with ports.store.tenant(run.spec.tenant_id) as records:
        # Locked: a run that ends at this moment is not promised to be cancelled.
        current = await records.runs.locked(run.spec.run_id)
        if current is None:
            raise missing("run")
        current.require_open()
        await records.runs.cancel(run.spec.run_id, actor.now)
        await records.audit.append(actor.event("run.cancel", "run", run.spec.run_id))
    try:
        await cancel(ports, run)
    except Unavailable as error:
        _log.warning("run.not_cancelled", run_id=run.spec.run_id, code=error.code)


async def cancel(ports: ControlPorts, run: Run) -> None:
    """Requests the cancellation of a run; if its workflow was terminated from outside, ends its row here.

    Raises:
        Conflict: `run_finished`.
        Unavailable: Temporal does not answer.
    """
    tenant_id, run_id = run.spec.tenant_id, run.spec.run_id
    try:
        await steer(ports, run, lambda: ports.workflows.cancel(tenant_id, run_id))
    except Missing:
        # No workflow is left that would close the row.
        await ports.lifecycle.end(tenant_id, run_id, Ending(RunStatus.CANCELLED))


async def cancel_all(ports: ControlPorts, tenant_id: str, run_ids: Sequence[str]) -> int:
    """Requests the cancellation of runs whose rows are marked for it, at most `MOST_AT_ONCE` of them.

    Args:
        ports: The dependencies.
        tenant_id: The tenant.
        run_ids: The runs; those that have ended meanwhile are skipped.

    Returns:
        How many were requested. A sweeper requests the others: those beyond the limit, and all while Temporal does not
        answer.
    """
    room = asyncio.Semaphore(AT_A_TIME)

    async def one(run_id: str) -> bool:
        async with room:
            try:
                await cancel(ports, await require_run(ports.store, tenant_id, run_id))
            except (Conflict, Missing):
                return False
            except Unavailable as error:
                _log.warning("run.not_cancelled", run_id=run_id, code=error.code)
                return False
        return True

    return sum(await asyncio.gather(*map(one, run_ids[:MOST_AT_ONCE])))
