"""Generates docs/errors.md from the code: every stable error code with its kind, HTTP status and messages.

python -m scripts.error_codes            # write
python -m scripts.error_codes --check    # exit 1 when the document is out of date
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.web import problems
from cli.exits import Exit, exit_of_kind
from taskforce.core.domain import errors
from taskforce.core.domain.errors import DomainError, Kind

REPOSITORY = Path(__file__).parents[1]
DOCUMENT = REPOSITORY / "docs" / "errors.md"
PACKAGES = ("taskforce", "api", "activities", "workflows", "models", "cli")
LONGEST_MESSAGE = 160
_HTTP_ARGS = 3
_TROUBLE_ARGS = 3

_MEANINGS = {
    Kind.INVALID: "The request itself is wrong, and will be wrong again.",
    Kind.UNAUTHENTICATED: "Nobody, or nobody believable, is asking.",
    Kind.FORBIDDEN: "Somebody is asking who may not.",
    Kind.MISSING: "It is not there, or not there for the caller.",
    Kind.CONFLICT: "It is there, but not in a state that allows this.",
    Kind.STALE: "It has changed since the caller looked at it.",
    Kind.LIMITED: "Too much, too fast; later is fine (`Retry-After`).",
    Kind.UNAVAILABLE: "A part that the product depends on does not answer; the same request may succeed later.",
}
_HEAD = """# Error codes

Every error of the gateway is a problem document (RFC 9457) with a stable `code`; errors of [the
command](#the-command) have such codes too. Branch on the code, never on the text. Written from the code by
`make errors`; do not edit by hand. `…` stands for what differs from case to case.
"""
_COMMAND = """## The command

Errors of `taskforce` itself: `--json` prints them as `error.code`. An error of the gateway keeps its code there.
"""


@dataclass(frozen=True, order=True)
class Found:
    """Describes one place where an error with a code is raised."""

    code: str
    kind: Kind
    message: str


@dataclass(frozen=True)
class _Place:
    """A call, with what its names stand for.

    Attributes:
        call: The call.
        around: The function or module in which it is.
        texts: Texts by the name of the constant or variable that holds them there.
    """

    call: ast.Call
    around: ast.AST
    texts: Mapping[str, str]

    @property
    def name(self) -> str:
        """Returns the name of what is called, without the way to it."""
        return ast.unparse(self.call.func).rpartition(".")[2]


def found_in(tree: ast.Module, kinds: Mapping[str, Kind], constants: Mapping[str, str]) -> Iterator[Found]:
    """Finds the errors that a module raises.

    Args:
        tree: The module.
        kinds: The kind of each error class, by the class's name.
        constants: Module constants that hold a text, by name.
    """
    builders = dict(_classes(tree, kinds))
    for place in _places(tree, constants):
        kind, given = kinds.get(place.name), place.call.args
        if kind is None or not given or place.name in builders:
            continue
        yield from (Found(code, kind, message) for code, message in _table(tree, place))
        message = _text(given[1], place.texts) if len(given) > 1 else ""
        for code in _codes(given[0], place.texts):
            if _is_parameter(place.around, given[1:2]):
                # Its callers say the message, so each of their calls is an error of its own.
                builders[place.around.name] = (code, kind)  # type: ignore[attr-defined]
            else:
                yield Found(code, kind, message)
    for place in _places(tree, constants):
        # In a second pass, for a builder may stand below its callers.
        if place.name in builders and place.call.args:
            yield Found(*builders[place.name], _text(place.call.args[0], place.texts))


def _classes(tree: ast.Module, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, tuple[str, Kind]]]:
    """Finds the error classes that bring their code themselves, so that who raises them gives a message only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in kinds:
            for call in (one for one in ast.walk(node) if isinstance(one, ast.Call) and one.args):
                if ast.unparse(call.func) == "super().__init__" and isinstance(call.args[0], ast.Constant):
                    yield node.name, (str(call.args[0].value), kinds[node.name])


def _places(tree: ast.Module, constants: Mapping[str, str]) -> Iterator[_Place]:
    def within(node: ast.AST, around: ast.AST) -> Iterator[_Place]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield _Place(child, around, _variables(around, child.lineno, constants))
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from within(child, child if inner else around)

    return within(tree, tree)


def _variables(around: ast.AST, line: int, constants: Mapping[str, str]) -> dict[str, str]:
    """Returns the texts that constants, and a function's variables at a line, hold, as far as the code says them."""
    found = dict(constants)
    if isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef):
        before = [node for node in ast.walk(around) if isinstance(node, ast.Assign) and node.lineno < line]
        for node in sorted(before, key=lambda one: one.lineno):
            text = _text(node.value, found)
            # A value that is computed says nothing, and must not hide what was said before.
            if isinstance(node.targets[0], ast.Name) and text.strip("… "):
                found[node.targets[0].id] = text
    return found


def _table(tree: ast.Module, place: _Place) -> Iterator[tuple[str, str]]:
    """Reads the codes and messages of a table of the module that the function looks a message up in, by its code."""
    code = place.call.args[0]
    tables = {
        ast.unparse(node.value)
        for node in ast.walk(place.around)
        if isinstance(node, ast.Subscript) and ast.unparse(node.slice) == ast.unparse(code)
    }
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) in tables:
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                for one in _codes(key, place.texts) if key else ():
                    yield one, re.sub(r"\{\w*\}", "…", _text(value, place.texts))


def _is_parameter(around: ast.AST, message: Sequence[ast.expr]) -> bool:
    """Tells whether a message is a parameter of the function around, whose callers say it then."""
    if not isinstance(around, ast.FunctionDef) or not message:
        return False
    return ast.unparse(message[0]) in {one.arg for one in around.args.args}


def _codes(node: ast.expr, texts: Mapping[str, str]) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from _codes(node.body, texts)
        yield from _codes(node.orelse, texts)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield _text(node, texts)
    elif isinstance(node, ast.Name) and node.id in texts:
        yield texts[node.id]


def _text(node: ast.expr, texts: Mapping[str, str]) -> str:
    """Returns a message as the code has it, with an ellipsis for each value that is filled in."""
    found = "…"
    match node:
        case ast.Constant():
            found = str(node.value)
        case ast.JoinedStr():
            found = "".join(_text(part, texts) for part in node.values)
        case ast.FormattedValue(value=ast.Name(id=name)) if name.isupper():
            found = texts.get(name, "…")
        case ast.BinOp():
            found = _text(node.left, texts) + _text(node.right, texts)
        case ast.Name():
            found = texts.get(node.id, "…")
        # A message that was cut, or that a function has worked on, as `redact` does, says the same.
        case ast.Subscript(value=first) | ast.Call(func=ast.Name(), args=[first, *_]):
            found = _text(first, texts)
    return found


def error_kinds(trees: Iterable[ast.Module]) -> dict[str, Kind]:
    """Returns the kind of each error class, those that derive from a domain error included."""
    kinds = {
        name: one.kind
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, DomainError) and one is not DomainError
    }
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for parent in node.bases:
                    kind = kinds.get(ast.unparse(parent).rpartition(".")[2])
                    if kind is not None:
                        kinds.setdefault(node.name, kind)
    return kinds


def _constants(tree: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                found[target.id] = node.value.value
    return found


def rendered() -> str:
    """Renders the whole document."""
    paths = [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]
    trees = {path: ast.parse(path.read_text()) for path in paths}
    kinds = error_kinds(trees.values())
    command = {path: tree for path, tree in trees.items() if path.is_relative_to(REPOSITORY / "cli")}
    messages: dict[tuple[Kind, str], list[str]] = defaultdict(list)
    for path, tree in trees.items():
        # The command's own errors have a section of theirs, with exit codes.
        for one in found_in(tree, kinds, _constants(tree)) if path not in command else ():
            if one.message not in messages[one.kind, one.code]:
                messages[one.kind, one.code].append(one.message)
    sections = (_section(kind, messages) for kind in Kind)
    return "\n".join([_HEAD, *sections, _http_section(trees.values()), _command_section(command.values(), kinds)])


def _http_section(trees: Iterable[ast.Module]) -> str:
    """Renders the errors of the gateway itself: routing, bodies, the protocol."""
    rows = {(status, code): detail for status, (code, detail) in problems.ROUTING.items()}
    for tree in trees:
        for place in _places(tree, _constants(tree)):
            if place.name not in {"problem", "WireProblem"} or len(place.call.args) != _HTTP_ARGS:
                continue
            status, code, detail = place.call.args
            if isinstance(code, ast.Constant):
                # `TOO_LARGE` is the one status that is given by a name.
                number = int(ast.literal_eval(status)) if isinstance(status, ast.Constant) else problems.TOO_LARGE
                rows[number, str(code.value)] = _text(detail, place.texts)
    lines = [f"| {status} | `{code}` | {_cell([said])} |" for (status, code), said in sorted(rows.items())]
    return "\n".join(["## HTTP itself\n", "| Status | Code | What it says |\n| --- | --- | --- |", *lines, ""])


def _command_section(trees: Iterable[ast.Module], kinds: Mapping[str, Kind]) -> str:
    """Renders the errors of the command itself, with their exit codes."""
    rows: dict[tuple[str, int], list[str]] = defaultdict(list)
    for tree in trees:
        for one in found_in(tree, kinds, _constants(tree)):
            rows[one.code, int(exit_of_kind(one.kind))].append(one.message)
        for place in _places(tree, _constants(tree)):
            if place.name == "Trouble" and len(place.call.args) == _TROUBLE_ARGS:
                status, code, message = place.call.args
                for one_code in _codes(code, place.texts):
                    number = int(Exit[ast.unparse(status).rpartition(".")[2]])
                    rows[one_code, number].append(_text(message, place.texts))
    lines = [
        f"| `{code.replace('…', '*')}` | {number} | {_cell(dict.fromkeys(said))} |"
        for (code, number), said in sorted(rows.items())
    ]
    return "\n".join([_COMMAND, "| Code | Exit code | What it says |\n| --- | --- | --- |", *lines, ""])


def _section(kind: Kind, messages: Mapping[tuple[Kind, str], list[str]]) -> str:
    rows = [
        f"| `{code.replace('…', '*')}` | {_cell(said)} |" for (of, code), said in sorted(messages.items()) if of is kind
    ]
    return "\n".join(
        [
            f"## {kind.value.capitalize()} ({problems.STATUSES[kind]})\n\n{_MEANINGS[kind]}\n",
            "| Code | What it says |\n| --- | --- |",
            *rows,
            "",
        ]
    )


def _cell(messages: Iterable[str]) -> str:
    clear = (text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE].rstrip() + " …" for text in messages)
    return "<br>".join(
        sorted(one.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") for one in clear if one.strip("… "))
    )


def main() -> int:
    """Writes or checks the document; returns the exit code."""
    text = rendered()
    if "--check" in sys.argv[1:]:
        current = DOCUMENT.read_text() if DOCUMENT.exists() else ""
        if current != text:
            sys.stderr.write("docs/errors.md is out of date: run `make errors`.\n")
            return 1
        return 0
    DOCUMENT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
