"""The messages of people of which a run has been told: those that wait for its model, and those sent as answers."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypedDict

from temporalio import workflow

from workflows.run_waits import ANSWER, RunWaits
from workflows.runtime.activity_calls import stop_if_cancelled

with workflow.unsafe.imports_passed_through():
    from models.messages.frame import RunRef
    from models.messages.runs import Carried, ToolOutcome, UnheardMessages
    from taskforce.core.domain.ids import is_id

HEARD_ONCE = "messages-heard-once"
"""2026-12: an id that is sent again is not heard again; before, it was where it named no question."""
UNHEARD_READ = "messages-unheard-read"
"""2026-12: a message whose signal does not arrive is read from its row; before, the run ended without it."""
LATE_MESSAGE = timedelta(seconds=10)
MAX_MESSAGES = 1_000
"""Messages at most that wait for the model, and ids at most that one part of a run hands to the next."""


class CarriedMessages(TypedDict, total=False):
    """The fields of `Carried` about messages."""

    words: tuple[str, ...]
    told: int
    told_of: tuple[str, ...]


class RunMessages:
    """The ids of a run's messages. Anybody who reaches Temporal can send one, so the messages' rows decide.

    Args:
        carried: What the part before hands over.
        waits: The run's waits, with its open questions.
    """

    def __init__(self, carried: Carried, waits: RunWaits) -> None:
        self._waits = waits
        self._questions = waits.questions
        self._waiting = list(carried.words)
        # A signal may be delivered twice, the second time after the model has read the message: each id counts once.
        self._received = dict.fromkeys((*carried.told_of, *carried.words))
        # Of these, the ones that the model has read, or a question has taken as its answer.
        self._heard = set(self._received) - set(carried.words)
        self._received_before = carried.told - len(self._received)
        self._unnamed: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def told(self) -> int:
        """Returns the number of stored messages of which the run has been told."""
        return self._received_before + len(self._received)

    def receive(self, payload: tuple[object, ...]) -> None:
        """Receives a message; what cannot be read is ignored.

        Args:
            payload: Its id, and the id of the question that it answers, `""` for none. Without a second one the message
                answers the oldest open question.
        """
        message, question = payload if len(payload) == 2 else (*payload, None) if len(payload) == 1 else (None, None)  # noqa: PLR2004
        if isinstance(message, str) and is_id(message) and (question is None or isinstance(question, str)):
            self._add(message, question)

    def take(self) -> tuple[str, ...]:
        """Returns the messages that wait for the model, which wait no longer."""
        messages, self._waiting = tuple(self._waiting), []
        self._heard.update(messages)
        return messages

    def forget(self, count: int) -> None:
        """Counts no longer a number of messages that turned out to have no row."""
        self._received_before -= count

    async def late(self, run: RunRef) -> None:
        """Waits for a message that is stored and whose signal has not arrived; reads its id when none arrives.

        Args:
            run: The run.
        """
        # A reply does not end a run that is to be cancelled: then there is nothing to wait for.
        stop_if_cancelled()
        try:
            await workflow.wait_condition(lambda: bool(self._waiting), timeout=LATE_MESSAGE)
        except TimeoutError:
            if workflow.patched(UNHEARD_READ):
                unheard = await self._waits.run_row("read_unheard_messages", run, UnheardMessages)
                self._enqueue(unheard.messages)

    async def answered(
        self, question: str, seconds: int, run: Callable[[tuple[str, ...]], Awaitable[ToolOutcome]]
    ) -> ToolOutcome:
        """Puts a question to people until a message answers it whose row says so, or its time is over.

        Args:
            question: Its id.
            seconds: How long it waits.
            run: Runs the tool with the ids that were sent as the answer, none when the time is over. An outcome that is
                `unanswered` leaves the question open.

        Returns:
            The outcome of the tool.
        """
        until = workflow.now() + timedelta(seconds=seconds)
        self._questions.put(question, by_row=True)
        await self._waits.hold(ANSWER)
        while (outcome := await run(messages := await self._sent(question, until))).unanswered:
            self._questions.refuse(question, messages)
            self._enqueue(message for message in messages if message in self._unnamed)
        self._close(question, outcome.answered_by)
        await self._waits.release(ANSWER)
        return outcome

    def carried(self) -> CarriedMessages:
        """Returns what the next part of the run must know."""
        carried = CarriedMessages(words=tuple(self._waiting), told=self.told)
        heard = [message for message in self._received if message not in self._waiting]
        if heard:
            carried["told_of"] = tuple(heard[-MAX_MESSAGES:])
        return carried

    def _add(self, message: str, question: str | None) -> None:
        if question and self._questions.suggest(message, question):
            return
        known = message in self._received
        if not known and self._questions.take(message, question):
            self._received[message] = None
            if question is None:
                self._unnamed.add(message)
        elif not (known and question):
            self._enqueue((message,))

    async def _sent(self, question: str, until: datetime) -> tuple[str, ...]:
        stop_if_cancelled()
        left = (until - workflow.now()).total_seconds()
        if left > 0 and not self._questions.sent(question):
            with suppress(TimeoutError):
                await workflow.wait_condition(lambda: bool(self._questions.sent(question)), timeout=left)
        return self._questions.sent(question)

    def _close(self, question: str, answer: str | None) -> None:
        sent = self._questions.close(question)
        if answer is not None:
            self._received[answer] = None
            self._heard.add(answer)
            # It may have been sent as a message, too.
            if answer in self._waiting and workflow.patched(HEARD_ONCE):
                self._waiting.remove(answer)
        # What came while the tool ran is heard as a message: it may be one that was stored too late to answer.
        missed = (message for message in sent if message in self._unnamed or message not in self._received)
        self._enqueue(message for message in missed if message != answer)

    def _enqueue(self, messages: Iterable[str]) -> None:
        for message in messages:
            self._unnamed.discard(message)
            if message in self._heard and workflow.patched(HEARD_ONCE):
                continue
            if message not in self._waiting and len(self._waiting) < MAX_MESSAGES:
                self._waiting.append(message)
                self._received[message] = None
