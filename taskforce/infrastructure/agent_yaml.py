"""YAML format of exported agents: what is written can be read again, and what is read is plain JSON data."""

import re
from collections.abc import Hashable, Mapping
from math import isfinite
from typing import Final

import yaml

from taskforce.core.domain.catalog.agent import Agent
from taskforce.core.domain.catalog.version import AgentVersion
from taskforce.core.domain.errors import Invalid

LARGEST: Final = 200_000
"""Characters: the longest definition, description and changelog, with what YAML adds to them."""
DEEPEST: Final = 40
LARGEST_INTEGER: Final = 2**63 - 1

_PREFIX: Final = "tag:yaml.org,2002:"
# The plain scalars that JSON has a type for, as YAML 1.2 spells them, each with how it begins; a date, `yes` or `0777`
# stays the text that it is.
_PLAIN: Final = (
    ("null", r"~|null|", ("~", "n", "")),
    ("bool", r"true|false", ("t", "f")),
    ("int", r"-?(?:0|[1-9][0-9]*)", tuple("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", tuple("-0123456789")),
)
_ODD_LINE_ENDS: Final = re.compile("[\r\x85\u2028\u2029\ufeff]")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """Loads what JSON can represent, and refuses anchors and aliases."""

    yaml_implicit_resolvers: Final = {}  # type: ignore[misc]  # PyYAML keeps them as a class's attribute
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            # A few nested aliases expand to a document of unbounded size ("billion laughs").
            raise _invalid("it uses an alias (*name); write out what it stands for")
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it open
        if getattr(event, "tag", None) is not None:
            # Tags are refused: they could turn a value into something that JSON cannot represent.
            raise _invalid(f"it uses a tag, near line {event.start_mark.line + 1}")
        self.depth += 1
        if self.depth > DEEPEST:
            raise _invalid(f"it is nested deeper than {DEEPEST} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        found = super().construct_mapping(node, deep)
        if len(found) != len(node.value):
            raise _invalid(f"a key stands twice in one mapping, near line {node.start_mark.line + 1}")
        if not all(isinstance(key, str) for key in found):
            raise _invalid(f"a key is no text, near line {node.start_mark.line + 1}; put it in quotes")
        return found


class _Dumper(yaml.SafeDumper):
    """Quotes every scalar that a reader of YAML 1.1, or this loader, would take for something other than a text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # Line ends of other kinds would be read as plain ones, wherever they are not written as escapes.
        style = '"' if _ODD_LINE_ENDS.search(text) else None
        node: yaml.ScalarNode = self.represent_scalar(f"{_PREFIX}str", text, style=style)
        return node


_Dumper.add_representer(str, _Dumper.represent_text)

for _reads in (_Loader, _Dumper):
    for _kind, _pattern, _first in _PLAIN:
        _reads.add_implicit_resolver(f"{_PREFIX}{_kind}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def write_agent(agent: Agent, version: AgentVersion) -> str:
    """Writes one version of an agent, with the agent's name, description, category and tags, as YAML."""
    about = agent.about
    document = {
        "name": about.name,
        "slug": about.slug,
        "description": about.description,
        "category": about.category,
        "tags": sorted(about.tags),
        "version": version.version_number,
        "changelog": version.changelog,
        "config_hash": version.config_hash,
        "definition": _plain(version.definition),
    }
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


def read_document(text: str | bytes) -> Mapping[str, object]:
    """Reads a YAML document that holds a mapping.

    Args:
        text: UTF-8.

    Raises:
        Invalid: `yaml_invalid`: it is no YAML, too large or too deep, uses aliases or tags, has a key twice, or says
            what JSON cannot.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        if len(decoded) > LARGEST:
            raise _invalid(f"it is longer than {LARGEST} characters")
        found: object = yaml.load(decoded, Loader=_Loader)  # noqa: S506 - a safe loader, narrower than SafeLoader
    except UnicodeDecodeError:
        raise _invalid("it is not UTF-8") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"near line {mark.line + 1}" if isinstance(mark, yaml.Mark) else "somewhere"
        raise _invalid(f"it cannot be read, {place}") from None
    if not isinstance(found, Mapping):
        raise _invalid("it holds no mapping")
    _check(found)
    return found


def _check(value: object) -> None:
    """Requires what the JSON API requires of a body, such as bounded depth and no NUL."""
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise _invalid("a text holds the character NUL, or half of a surrogate pair")
    elif isinstance(value, Mapping):
        for name, part in value.items():
            _check(name)
            _check(part)
    elif isinstance(value, list):
        for part in value:
            _check(part)
    elif value is not None and not isinstance(value, bool | int | float):
        raise _invalid(f"it holds a {type(value).__name__}, which JSON does not have")
    elif isinstance(value, float) and not isfinite(value):
        raise _invalid("a number is too large, or none")
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise _invalid("an integer is beyond 64 bits; write it as a text")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _invalid(what: str) -> Invalid:
    return Invalid("yaml_invalid", f"The YAML cannot be taken: {what}.")
