"""Questions that a run asks a person, and the assignment of messages to them as answers."""

import re
from collections.abc import Collection
from dataclasses import dataclass

ASKING_TOOL = "ask_user"
QUESTION_SHOWN = 4_000
"""Characters of a question that are stored in its run's row."""
_QUESTION_ID = re.compile(r"([1-9][0-9]{0,8})\.([1-9][0-9]{0,8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Question:
    """A question without an answer yet.

    Attributes:
        question_id: Id by `question_id`; unique within the run.
        text: The question, cut to `QUESTION_SHOWN` characters.
    """

    question_id: str
    text: str = ""


def question_id(step: int, call: int) -> str:
    """Returns the id of a question within its run, from the tool call that asks it, for example `3.1`.

    Args:
        step: The step, from 1.
        call: The call within it, from 1.
    """
    return f"{step}.{call}"


def call_of(question: str) -> tuple[int, int] | None:
    """Parses a question's id into (step, call); None for a malformed one."""
    found = _QUESTION_ID.fullmatch(question)
    return (int(found[1]), int(found[2])) if found else None


class OpenQuestions:
    """The questions of a run without an answer, in the order asked.

    Whoever reaches the workflow engine can send any id as an answer. A question that is put `by_row` therefore only
    collects ids: it stays open until the message's row shows that the message answers it. Other questions, of runs from
    before 2026-12, take the first message as their answer.
    """

    def __init__(self) -> None:
        self._answers: dict[str, list[str]] = {}
        self._by_row: set[str] = set()

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Returns the ids of the questions without an answer, oldest first."""
        return tuple(question for question, sent in self._answers.items() if not sent or question in self._by_row)

    def put(self, question: str, *, by_row: bool = False) -> None:
        """Adds a question.

        Args:
            question: Its id.
            by_row: Whether the row of a message decides that it is the answer.
        """
        self._answers[question] = []
        if by_row:
            self._by_row.add(question)

    def suggest(self, message: str, question: str) -> bool:
        """Adds a message as the possible answer of an open question that its row decides; False without such one."""
        if question not in self._by_row:
            return False
        if message not in self._answers[question]:
            self._answers[question].append(message)
        return True

    def take(self, message: str, question: str | None) -> bool:
        """Assigns a message to a question as its answer.

        Args:
            message: Id of the message.
            question: Id of the question that it answers, `""` for none; None for a message that names no question,
                which answers the oldest one.

        Returns:
            False when it answers no open question and stays a message to the model.
        """
        waiting = tuple(one for one, sent in self._answers.items() if not sent)
        # `""` is in no list of questions, so a message for none stays a message.
        named = question if question is not None else next(iter(waiting), "")
        if named not in waiting:
            return False
        self._answers[named].append(message)
        return True

    def sent(self, question: str) -> tuple[str, ...]:
        """Returns the ids of the messages that were sent as the answer of a question, in order."""
        return tuple(self._answers.get(question, ()))

    def refuse(self, question: str, messages: Collection[str]) -> None:
        """Removes messages whose rows do not answer the question, which stays open."""
        self._answers[question] = [one for one in self._answers[question] if one not in messages]

    def close(self, question: str) -> tuple[str, ...]:
        """Removes a question, answered or not, and returns what was sent as its answer."""
        self._by_row.discard(question)
        return tuple(self._answers.pop(question, ()))
