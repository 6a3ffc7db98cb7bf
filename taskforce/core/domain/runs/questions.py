"""Questions that a run puts to a person, and which message answers which of them."""

import re
from dataclasses import dataclass

ASKING_TOOL = "ask_user"
QUESTION_SHOWN = 4_000
"""Characters of a question that its run's row shows."""
_QUESTION_ID = re.compile(r"([1-9][0-9]{0,8})\.([1-9][0-9]{0,8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Question:
    """A question that waits for an answer.

    Attributes:
        question_id: As `question_id` makes it; unique within the run.
        text: What is asked, as far as it is shown.
    """

    question_id: str
    text: str = ""


def question_id(step: int, call: int) -> str:
    """The id of a question within its run: the tool call that puts it, for example `3.1`.

    Args:
        step: The step, from 1.
        call: The call within it, from 1.
    """
    return f"{step}.{call}"


def call_of(question: str) -> tuple[int, int] | None:
    """Step and call of a question's id; None for what `question_id` does not make."""
    found = _QUESTION_ID.fullmatch(question)
    return (int(found[1]), int(found[2])) if found else None


class OpenQuestions:
    """The questions that a run waits for, in the order in which they were put. Each takes one message as its answer."""

    def __init__(self) -> None:
        self._answers: dict[str, str | None] = {}

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The ids of those without an answer, the earliest first."""
        return tuple(question for question, answer in self._answers.items() if answer is None)

    def put(self, question: str) -> None:
        """Begins to wait for an answer."""
        self._answers[question] = None

    def take(self, message: str, question: str | None) -> bool:
        """Takes a message as an answer.

        Args:
            message: The message's id.
            question: The question that it answers, `""` for none; None for a message that does not say, which answers
                the question that has waited longest.

        Returns:
            False when it answers nothing that is open, and stays a message.
        """
        waiting = self.unanswered
        named = question if question is not None else next(iter(waiting), "")
        if named not in waiting:
            return False
        self._answers[named] = message
        return True

    def answer(self, question: str) -> str | None:
        """The message that answers a question; None while there is none."""
        return self._answers.get(question)

    def close(self, question: str) -> str | None:
        """Ends the wait, answered or not; returns the answer."""
        return self._answers.pop(question, None)
