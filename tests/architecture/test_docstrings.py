"""How docstrings begin: a function's with a verb, a class's with a verb or a noun of the field."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.conftest import REPOSITORY, sources

VERB = re.compile(r"[A-Z][a-z]+(-[a-z]+)?s[,;]?")
"""A verb in the third person."""
NO_VERBS = frozenset(["Always", "Arguments", "As", "Does", "Ids", "Its", "Others", "Paths", "Roles", "This", "Tokens"])
"""Words that end as a verb does, and are none here. `Does nothing` is an exception: it says all there is."""
SAYS_NOTHING = frozenset({"How", "It", "See", "Something", "This", "What", "Whether", "Who", "Why"})
"""Words with which no class is described: they put the noun off."""


def first_words(tree: ast.AST) -> Iterator[tuple[int, ast.AST, str]]:
    """Each documented function and class: its line, itself, the first line of its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            text = ast.get_docstring(node)
            if text:
                yield node.lineno, node, text.splitlines()[0]


def misbegun(tree: ast.AST) -> Iterator[str]:
    """Those docstrings whose first word is not what the rule asks for."""
    for line, node, text in first_words(tree):
        word = text.split()[0]
        is_class = isinstance(node, ast.ClassDef)
        if word in SAYS_NOTHING or (not is_class and not _is_verb(word) and not text.startswith("Does nothing")):
            yield f"{line} {text}"


def _is_verb(word: str) -> bool:
    return VERB.fullmatch(word) is not None and word not in NO_VERBS


@pytest.mark.parametrize(
    "planted",
    ["Whether it runs.", "The run is there.", "A table of runs.", "See `View`.", "Its name.", "Does its work."],
)
def test_a_planted_function_without_a_verb_is_found(planted: str) -> None:
    tree = ast.parse(f'def f():\n    """{planted}"""\n\ndef g():\n    """Renders a table of runs."""')
    assert list(misbegun(tree)) == [f"1 {planted}"]


@pytest.mark.parametrize("planted", ["See `Roles`.", "What a stack tells.", "Something that runs.", "Whether it runs."])
def test_a_planted_class_without_a_noun_is_found(planted: str) -> None:
    tree = ast.parse(f'class F:\n    """{planted}"""\n\nclass G:\n    """A client of one gateway."""')
    assert list(misbegun(tree)) == [f"1 {planted}"]


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    found = [f"{one.path}:{line}" for one in sources() for line in misbegun(one.tree)]
    assert found == []


@pytest.mark.parametrize("folder", ["scripts", "bench"])
def test_so_do_those_of_what_the_makefile_calls(folder: str) -> None:
    files = sorted((REPOSITORY / folder).rglob("*.py"))
    found = [f"{path}:{line}" for path in files for line in misbegun(ast.parse(path.read_text()))]
    assert found == []
