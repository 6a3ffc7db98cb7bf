"""What people do to a run that is under way: words, and marks of who paused, resumed or cancelled it."""

from dataclasses import dataclass, replace
from datetime import datetime

from taskforce.application.idempotency import IdempotentCall, claim
from taskforce.application.identity.principals import load_principal_for_key
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Conflict, Forbidden
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.domain.runs.questions import ASKING_TOOL, call_of
from taskforce.core.domain.runs.run import Run
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Records, Store


@dataclass(frozen=True, slots=True)
class Saying:
    """A word for a run.

    Attributes:
        author_id: Who says it.
        text: What.
        key: The caller's idempotency key, if any.
        request_id: The HTTP request, for the audit log.
        key_id: The API key that spoke, if it was one.
        held: What the credential that spoke allows.
        question: The id of the question that it answers; None leaves it to the order, the question that has waited
            longest first.
    """

    author_id: str
    text: str
    key: str | None
    request_id: str | None
    key_id: str | None = None
    held: frozenset[Permission] = frozenset()
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Steerer:
    """Who steers a run.

    Attributes:
        user_id: The user.
        request_id: The HTTP request, for the audit log.
        key_id: The API key that spoke, if it was one.
    """

    user_id: str
    request_id: str | None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A word that is kept.

    Attributes:
        word_id: Its id.
        replayed: An earlier request with the same key said it.
        tell: The run must still be told.
        question: The id of the question that it answers, if it answers one.
    """

    word_id: str
    replayed: bool = False
    tell: bool = True
    question: str | None = None


async def say(store: Store, run: Run, saying: Saying, rules: AccessRules, now: datetime) -> Said:
    """Keeps a word until the model hears it; telling the run comes after the commit.

    Words steer a run, which acts with its owner's rights, so they are its owner's alone: else an approver could have
    another's run ask for what he then approves himself. For the same reason an API key of the owner's speaks only to
    runs that may do no more than it may.

    Only what is said while a question is open may answer it. Questions open and close under the lock of the run's row,
    so that of two who speak at once the first answers the first question and the second the next.

    Raises:
        Missing: `run_not_found`: it was erased meanwhile; `question_not_found`.
        Forbidden: `not_your_run`; `run_may_more`, which names what the key lacks.
        Conflict: `run_finished`; `question_answered`.
        Invalid: `idempotency_key_reused`.
    """
    run_id, word_id = run.brief.run_id, new_id()
    if saying.author_id != run.brief.user_id:
        raise Forbidden("not_your_run", "Only whoever started a run may add words to it.")
    async with store.tenant(run.brief.tenant_id) as records:
        if saying.key_id is not None and saying.key_id != run.brief.key_id:
            await _require_as_much(records, run, saying, rules, now)
        earlier = await _earlier(records, run, saying, word_id, now)
        if earlier is not None:
            return earlier
        # The run ends only if it has heard all words, which its last reply looks up under the same lock.
        current = await records.runs.locked(run_id)
        if current is None:
            raise missing("run")
        current.require_open()
        question = await _answered(records, current, saying.question)
        await records.words.add(run_id, word_id, saying.author_id, saying.text, now, question)
        named = {} if question is None else {"question_id": question}
        data = {"author_id": saying.author_id, "text": saying.text[:500], **named}
        await records.events.append(run_id, "word.added", data, now)
        by = Steerer(saying.author_id, saying.request_id, saying.key_id)
        told = steered(run_id, "run.message", by, now)
        await records.audit.append(replace(told, content={"text": saying.text, **named}))
    return Said(word_id, question=question)


async def _answered(records: Records, run: Run, named: str | None) -> str | None:
    """The question that a message answers: the one that it names, else the first that nobody has answered."""
    put = [question.question_id for question in run.questions]
    if named is None and not put:
        return None
    answers = await records.words.answers(run.brief.run_id)
    if named is None:
        return next((question for question in put if question not in answers), None)
    if named in answers or (named not in put and await _was_put(records, run, named)):
        raise Conflict("question_answered", "This question has its answer, or waits for none any more.")
    if named not in put:
        raise missing("question")
    return named


async def _was_put(records: Records, run: Run, named: str) -> bool:
    place = call_of(named)
    observed = None if place is None else await records.transcripts.entry(run.brief.run_id, *place)
    return observed is not None and observed.tool == ASKING_TOOL


async def _require_as_much(records: Records, run: Run, saying: Saying, rules: AccessRules, now: datetime) -> None:
    acts = await load_principal_for_key(records, run.brief.user_id, run.brief.key_id, rules, now)
    lacking = sorted(one.value for one in acts.permissions - saying.held)
    if lacking:
        text = f"This run may do more than this API key, which so does not steer it; lacking: {', '.join(lacking)}."
        raise Forbidden("run_may_more", text, details={"permissions": lacking})


async def _earlier(records: Records, run: Run, saying: Saying, word_id: str, now: datetime) -> Said | None:
    """What an earlier request with the key said, if there was one."""
    run_id = run.brief.run_id
    body = {"text": saying.text} | ({} if saying.question is None else {"question_id": saying.question})
    keyed = IdempotentCall(saying.author_id, f"messages:{run_id}", saying.key, body)
    first = await claim(records, keyed, {"word_id": word_id}, now)
    if first is None:
        return None
    # The first request may have died between its commit and the signal.
    heard = await records.transcripts.heard(run_id, saying.author_id, saying.text)
    word = str(first["word_id"])
    question = next((one for one, answer in (await records.words.answers(run_id)).items() if answer == word), None)
    return Said(word, replayed=True, tell=not heard and not run.status.is_final, question=question)


async def mark(store: Store, run: Run, action: str, by: Steerer, now: datetime) -> None:
    """Audits that somebody is about to steer a run.

    Args:
        store: The tenants' data.
        run: The run.
        action: For example `run.cancel`.
        by: Who.
        now: The time.

    Raises:
        Conflict: `run_finished`.
    """
    run.require_open()
    async with store.tenant(run.brief.tenant_id) as records:
        await records.audit.append(steered(run.brief.run_id, action, by, now))


def steered(run_id: str, action: str, by: Steerer, now: datetime) -> AuditEvent:
    """What somebody did to a run, for the audit log."""
    return AuditEvent(
        actor_id=by.user_id,
        action=action,
        resource_type="run",
        resource_id=run_id,
        outcome="allowed",
        at=now,
        request_id=by.request_id,
        key_id=by.key_id,
    )
