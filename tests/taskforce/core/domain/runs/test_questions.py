"""Which message answers which question."""

import pytest

from taskforce.core.domain.runs.questions import OpenQuestions, call_of, question_id


def test_a_message_that_names_no_question_answers_the_one_that_has_waited_longest() -> None:
    questions = OpenQuestions()
    questions.put("1.1")
    questions.put("1.2")
    assert [questions.take("a", None), questions.take("b", None), questions.take("c", None)] == [True, True, False]
    assert (questions.sent("1.1"), questions.sent("1.2")) == (("a",), ("b",))


@pytest.mark.parametrize("named", ["", "9.9", "1.2"])
def test_a_message_that_names_what_is_not_open_answers_nothing(named: str) -> None:
    questions = OpenQuestions()
    questions.put("1.1")
    questions.put("1.2")
    questions.take("a", "1.2")
    assert not questions.take("b", named)
    assert questions.unanswered == ("1.1",)


def test_a_question_that_is_closed_takes_no_answer() -> None:
    questions = OpenQuestions()
    questions.put("1.1")
    assert questions.close("1.1") == ()
    assert not questions.take("a", None)


def test_a_question_whose_answer_a_row_decides_is_open_whatever_is_sent_for_it() -> None:
    questions = OpenQuestions()
    questions.put("1.1", by_row=True)
    assert [questions.suggest(message, "1.1") for message in ("a", "b", "a")] == [True, True, True]
    assert not questions.suggest("a", "1.2")
    assert (questions.sent("1.1"), questions.unanswered) == (("a", "b"), ("1.1",))
    questions.refuse("1.1", ("a",))
    assert (questions.sent("1.1"), questions.unanswered) == (("b",), ("1.1",))
    assert questions.close("1.1") == ("b",)
    assert (questions.suggest("c", "1.1"), questions.unanswered) == (False, ())


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "0.1", "1.1.1", "-1.1", "1.1\n", "\u0661.\u0661", "1" * 10 + ".1", "x.y"]
)
def test_only_an_id_that_the_product_makes_names_a_call(text: str) -> None:
    assert call_of(text) is None
    assert call_of(question_id(12, 3)) == (12, 3)
