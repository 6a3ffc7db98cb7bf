"""Messages only ever grow: histories of all releases must replay.

`python -m tests.architecture.test_messages` records the schemas of today, after a change that is additive.
"""

import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from models import messages
from models.messages.frame import Message

SNAPSHOT = Path(__file__).with_name("messages.json")
HOW = "Messages may only grow. After an additive change run `python -m tests.architecture.test_messages`."
_IGNORED = frozenset({"title", "description"})

Schema = dict[str, Any]


def classes() -> dict[str, type[BaseModel]]:
    """Every message, by module and name."""
    return {f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}": kind for kind in _declared()}


def _declared() -> Iterator[type[BaseModel]]:
    for found in pkgutil.iter_modules(messages.__path__, f"{messages.__name__}."):
        module = importlib.import_module(found.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__:
                assert issubclass(kind, BaseModel), f"{kind} is no message"
                yield kind


def _plain(schema: Any, definitions: Schema) -> Any:
    """A schema without words, with what it refers to in place, so that equal means compatible."""
    if isinstance(schema, list):
        return [_plain(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {
        name: {field: _plain(one, definitions) for field, one in part.items()}
        if name == "properties"
        else _plain(part, definitions)
        for name, part in schema.items()
        if name not in _IGNORED and name != "$defs"
    }


def current() -> dict[str, Schema]:
    """Today's schemas."""
    return {name: _schema(kind) for name, kind in sorted(classes().items())}


def _schema(kind: type[BaseModel]) -> Schema:
    schema = kind.model_json_schema()
    plain: Schema = _plain(schema, schema.get("$defs", {}))
    return plain


def breaks(then: Schema, now: Schema, where: str) -> list[str]:
    """What a reader of old histories would stumble over."""
    old, new = then.get("properties", {}), now.get("properties", {})
    found = [f"{where}.{field} was removed" for field in old if field not in new]
    found += [f"{where}.{field} was added without a default" for field in now.get("required", ()) if field not in old]
    for field in old.keys() & new.keys():
        found += _changes(old[field], new[field], f"{where}.{field}")
        if field in now.get("required", ()) and field not in then.get("required", ()):
            found.append(f"{where}.{field} became required")
    return found


def _changes(then: Schema, now: Schema, where: str) -> list[str]:
    if "properties" in then and "properties" in now:
        return breaks(then, now, where)
    values = set(then.get("enum", ())), set(now.get("enum", ()))
    grown = bool(values[0]) and values[0] <= values[1]
    same = {**then, "enum": None} == {**now, "enum": None} if grown else then == now
    return [] if same else [f"{where} changed from {json.dumps(then)} to {json.dumps(now)}"]


@pytest.mark.parametrize("name", sorted(json.loads(SNAPSHOT.read_text())) if SNAPSHOT.exists() else [])
def test_a_message_only_grows(name: str) -> None:
    now = current()
    assert name in now, f"{name} was removed. {HOW}"
    found = breaks(json.loads(SNAPSHOT.read_text())[name], now[name], name)
    assert not found, f"{'; '.join(found)}. {HOW}"


def test_every_message_is_recorded_as_it_is() -> None:
    assert json.loads(SNAPSHOT.read_text()) == current(), HOW


@pytest.mark.parametrize("kind", classes().values(), ids=list(classes()))
def test_every_message_is_frozen_and_forgiving(kind: type[BaseModel]) -> None:
    assert issubclass(kind, Message)
    assert kind.model_config["frozen"]
    assert kind.model_config["extra"] == "ignore"
    for name, field in kind.model_fields.items():
        # Sets iterate differently in each process, and a list could be changed in place.
        assert not {"set", "frozenset", "list"} & set(str(field.annotation).replace("[", " ").split()), name


BEFORE: Schema = {"properties": {"a": {"type": "string"}, "b": {"enum": ["x", "y"]}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("properties", "required", "complaint"),
    [
        ({"a": {"type": "string"}, "b": {"enum": ["x", "y", "z"]}, "c": {"default": 1}}, ["a"], None),
        ({"a": {"type": "string"}}, ["a"], "m.b was removed"),
        ({"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, ["a"], "m.a changed from"),
        ({"a": {"type": "string"}, "b": {"enum": ["x"]}}, ["a"], "m.b changed from"),
        ({"a": {"type": "string"}, "b": {"enum": ["x", "y"]}}, ["a", "b"], "m.b became required"),
        ({**BEFORE["properties"], "c": {"type": "string"}}, ["a", "c"], "m.c was added without a default"),
    ],
)
def test_a_change_that_would_break_a_replay_is_named(
    properties: Schema, required: list[str], complaint: str | None
) -> None:
    found = breaks(BEFORE, {"properties": properties, "required": required}, "m")
    assert [one.startswith(complaint or "-") for one in found] == ([True] if complaint else [])


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{len(current())} messages recorded.\n")
