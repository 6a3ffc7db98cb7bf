"""The rules of the plan that an agent keeps."""

import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.runs.todo import MAX_ITEMS, MAX_TEXT, TodoItem, TodoList, TodoStatus


def test_a_plan_is_read_as_task_items() -> None:
    plan = TodoList.of([("count", "done"), ("tell", "in_progress"), ("rest", "pending")])
    assert plan.markdown() == "- [x] count\n- [~] tell\n- [ ] rest"


def test_a_plan_may_be_empty_and_as_long_as_history_bears() -> None:
    assert TodoList.of([]).markdown() == ""
    assert len(TodoList(tuple(TodoItem("x" * MAX_TEXT) for _ in range(MAX_ITEMS))).items) == MAX_ITEMS


@pytest.mark.parametrize("items", [[("x", "done")] * (MAX_ITEMS + 1), [("x" * (MAX_TEXT + 1), "done")]])
def test_a_longer_one_is_refused(items: list[tuple[str, str]]) -> None:
    with pytest.raises(Invalid) as refused:
        TodoList.of(items)
    assert refused.value.code == "todo_too_long"


def test_an_item_begins_as_pending() -> None:
    assert TodoItem("x").status is TodoStatus.PENDING


def test_an_unknown_status_is_refused_by_code() -> None:
    with pytest.raises(Invalid) as refused:
        TodoList.of([("x", "started")])
    assert refused.value.code == "todo_status_unknown"
