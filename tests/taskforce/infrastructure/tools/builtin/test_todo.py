"""The todo list is written whole."""

from taskforce.core.domain.runs.todo import TodoItem, TodoList, TodoStatus
from tests.taskforce.infrastructure.tools.tool_context import BUILTIN, call


async def test_it_returns_the_list() -> None:
    items = [{"text": "Look", "status": "done"}, {"text": "Leap"}]
    assert await call("todo_write", items=items) == TodoList((TodoItem("Look", TodoStatus.DONE), TodoItem("Leap")))
    assert await call("todo_write", items=[]) == TodoList()


def test_what_the_list_cannot_hold_is_a_problem() -> None:
    problems = BUILTIN.problems("todo_write", {"items": [{"text": "x" * 161}, {"text": "a", "status": "later"}, {}]})
    assert [problem.split(":")[0] for problem in problems] == ["items.0.text", "items.1.status", "items.2.text"]
    assert BUILTIN.problems("todo_write", {"items": [{"text": "a"}] * 41})


def test_its_schema() -> None:
    assert BUILTIN.specs()["todo_write"].parameters == {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "description": "Every item of the list, in order; what is left out is gone.",
                "maxItems": 40,
                "items": {
                    "type": "object",
                    "description": "One item of the plan.",
                    "properties": {
                        "text": {
                            "type": "string",
                            "description": "What is to be done, in a few words.",
                            "minLength": 1,
                            "maxLength": 160,
                        },
                        "status": {
                            "type": "string",
                            "description": "How far it is.",
                            "enum": ["pending", "in_progress", "done"],
                            "default": "pending",
                        },
                    },
                    "required": ["text"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["items"],
        "additionalProperties": False,
    }
