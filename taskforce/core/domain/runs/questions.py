"""Questions that a run asks a person, and the assignment of messages to them as answers."""

import re
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
    """The questions of a run without an answer, in the order asked; each takes one message as its answer."""

    def __init__(self) -> None:
        self._answers: dict[str, str | None] = {}

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Ids of the questions without an answer, oldest first."""
        return tuple(question for question, answer in self._answers.items() if answer is None)

    def put(self, question: str) -> None:
        """Adds a question."""
        self._answers[question] = None

    def take(self, message: str, question: str | None) -> bool:
        """Assigns a message to a question as its answer.

        Args:
            message: Id of the message.
            question: Id of the question that it answers, `""` for none; None for a message that names no question,
                which answers the oldest one.

        Returns:
            False when it answers no open question and stays a message to the model.
        """
        waiting = self.unanswered
        named = question if question is not None else next(iter(waiting), "")
        if named not in waiting:
            return False
        self._answers[named] = message
        return True

    def answer(self, question: str) -> str | None:
        """Returns the id of the message that answers a question; None while there is none."""
        return self._answers.get(question)

    def close(self, question: str) -> str | None:
        """Removes a question, answered or not, and returns the id of its answer."""
        return self._answers.pop(question, None)
