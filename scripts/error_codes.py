"""Generates docs/errors.md from the code: every stable error code with its kind, HTTP status and messages.

python -m scripts.error_codes            # write
python -m scripts.error_codes --check    # exit 1 when the document is out of date
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.web import problems
from taskforce.core.domain import errors
from taskforce.core.domain.errors import DomainError, Kind

REPOSITORY = Path(__file__).parents[1]
DOCUMENT = REPOSITORY / "docs" / "errors.md"
PACKAGES = ("taskforce", "api", "activities", "workflows", "models", "cli")
LONGEST_MESSAGE = 160
_HTTP_ARGS = 3

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

Every error of the gateway is a problem document (RFC 9457) with a stable `code`. Branch on the code, never on the text.
Written from the code by `make errors`; do not edit by hand. `…` stands for what differs from case to case.
"""


@dataclass(frozen=True, order=True)
class Found:
    """Describes one place where an error with a code is raised."""

    code: str
    kind: Kind
    message: str


def found_in(tree: ast.Module, kinds: Mapping[str, Kind], constants: Mapping[str, str]) -> Iterator[Found]:
    """Finds the errors that a module raises.

    Args:
        tree: The module.
        kinds: The kind of each error class, by the class's name.
        constants: Module constants that hold a text, by name.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        kind = kinds.get(ast.unparse(node.func).rpartition(".")[2])
        if kind is None:
            continue
        message = _text(node.args[1], constants) if len(node.args) > 1 else ""
        for code in _codes(node.args[0], constants):
            yield Found(code, kind, message)


def _codes(node: ast.expr, constants: Mapping[str, str]) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from _codes(node.body, constants)
        yield from _codes(node.orelse, constants)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield _text(node, constants)
    elif isinstance(node, ast.Name) and node.id in constants:
        yield constants[node.id]


def _text(node: ast.expr, constants: Mapping[str, str]) -> str:
    """Returns a message as the code has it, with an ellipsis for each value that is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left, constants) + _text(node.right, constants)
    return constants.get(node.id, "…") if isinstance(node, ast.Name) else "…"


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
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def rendered() -> str:
    """Renders the whole document."""
    paths = [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]
    trees = [ast.parse(path.read_text()) for path in paths]
    kinds = error_kinds(trees)
    messages: dict[tuple[Kind, str], list[str]] = defaultdict(list)
    for tree in trees:
        for one in found_in(tree, kinds, _constants(tree)):
            if one.message not in messages[one.kind, one.code]:
                messages[one.kind, one.code].append(one.message)
    return "\n".join([_HEAD, *(_section(kind, messages) for kind in Kind), _http_section(trees)])


def _http_section(trees: Iterable[ast.Module]) -> str:
    """Renders the errors of the gateway itself: routing, bodies, the protocol."""
    rows = {(status, code): detail for status, (code, detail) in problems.ROUTING.items()}
    for tree in trees:
        constants = _constants(tree)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if (
                ast.unparse(call.func).rpartition(".")[2] not in {"problem", "WireProblem"}
                or len(call.args) != _HTTP_ARGS
            ):
                continue
            status, code, detail = call.args
            if isinstance(code, ast.Constant):
                number = int(ast.literal_eval(status)) if isinstance(status, ast.Constant) else problems.TOO_LARGE
                rows[number, str(code.value)] = _text(detail, constants)
    lines = [f"| {status} | `{code}` | {_cell([said])} |" for (status, code), said in sorted(rows.items())]
    return "\n".join(["## HTTP itself\n", "| Status | Code | What it says |\n| --- | --- | --- |", *lines, ""])


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
