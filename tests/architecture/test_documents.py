"""Documents agree with the code, with one another, and with the form that they have."""

import ast
import re
from collections.abc import Sequence

import pytest

from scripts.error_codes import DOCUMENT, Found, error_kinds, found_in, rendered
from taskforce.core.domain.errors import Kind
from taskforce.infrastructure.config.settings import Settings
from tests.architecture.conftest import REPOSITORY
from tests.architecture.markdown import Document, documents, missing_imports

INDEX = "docs/decisions/README.md"
DECISIONS = [one for one in documents() if re.fullmatch(r"docs/decisions/\d{4}-[a-z0-9-]+\.md", one.path)]
HEAD = re.compile(
    r"# (?P<number>\d+)\. (?P<title>.+)\n\n"
    r"Status: (?P<status>accepted|superseded by \d{4})\. Date: (?P<date>\d{4}-\d\d-\d\d)\.\n"
)
LONGEST_LINE = 120
SECTIONS = ("Context", "Decision", "Alternatives")
every_document = pytest.mark.parametrize("document", documents(), ids=lambda one: str(one.path))
every_decision = pytest.mark.parametrize("decision", DECISIONS, ids=lambda one: str(one.path.rpartition("/")[2]))


def test_the_list_of_error_codes_is_what_the_code_has() -> None:
    assert DOCUMENT.read_text() == rendered(), "run `make errors`"


def test_an_error_of_a_derived_class_is_found_with_its_kind_and_its_words() -> None:
    tree = ast.parse(
        "class Late(Conflict): ...\n"
        "raise Late('too_late' if late else f'{noun}_early', f'It is {hour} ' 'already.')\n"
        "raise ValueError('no code of ours')\n"
    )
    assert list(found_in(tree, error_kinds([tree]), {})) == [
        Found("too_late", Kind.CONFLICT, "It is … already."),
        Found("…_early", Kind.CONFLICT, "It is … already."),
    ]


def test_every_code_has_its_words() -> None:
    assert [row for row in DOCUMENT.read_text().splitlines() if re.search(r"\|\s*\|$", row)] == []


@pytest.mark.parametrize(
    "planted",
    [
        "def f():\n    text = f'At most {most}.'\n    raise Conflict('too_many', text)",
        "def f():\n    text = f'At most {most}.'\n    raise Conflict('too_many', text[:9])",
        "def f():\n    text = f'At most {most}.'\n    raise Conflict('too_many', redact(text, secrets))",
        "def f(message):\n    return Conflict('too_many', message)\ndef g():\n    raise f(f'At most {most}.')",
        "TEXTS = {'too_many': 'At most {most}.'}\ndef f(code):\n    raise Conflict(code, TEXTS[code].format(most=1))",
        "class Full(Conflict):\n    def f(self, m):\n        super().__init__('too_many', m)\nFull(f'At most {most}.')",
    ],
    ids=["variable", "cut", "redacted", "builder", "table", "class"],
)
def test_words_are_found_where_a_variable_holds_them(planted: str) -> None:
    tree = ast.parse(planted)
    assert list(found_in(tree, error_kinds([tree]), {})) == [Found("too_many", Kind.CONFLICT, "At most ….")]


def test_every_setting_is_in_the_table_of_settings() -> None:
    text = (REPOSITORY / "docs" / "operating.md").read_text()
    aliases = {field.alias for field in Settings.model_fields.values() if field.alias}
    assert sorted(alias for alias in aliases if f"`{alias}`" not in text) == []


@every_document
def test_every_relative_link_leads_to_a_file_and_to_its_heading(document: Document) -> None:
    assert document.broken_links() == []


@every_document
def test_every_path_in_backticks_is_there(document: Document) -> None:
    assert document.stale_paths() == []


@every_document
def test_python_in_a_document_imports_what_there_is(document: Document) -> None:
    assert [name for block in document.python() for name in missing_imports(block)] == []


@every_document
def test_every_make_target_in_backticks_is_there(document: Document) -> None:
    there = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", document.prose)) <= there


@every_decision
def test_a_decision_says_its_status_its_date_and_what_else_was_weighed(decision: Document) -> None:
    found = HEAD.match(decision.text)
    assert found, "A decision begins with its title, and `Status: accepted. Date: 2026-12-01.` below"
    assert int(found["number"]) == int(decision.path.rpartition("/")[2][:4])
    assert [name for name in SECTIONS if not decision.sections().get(name, "").strip()] == []


def test_the_list_of_decisions_names_each_with_its_status_and_its_date() -> None:
    rows = [line for line in (REPOSITORY / INDEX).read_text().splitlines() if re.match(r"\| \d{4} ", line)]
    assert rows == [_row(one) for one in DECISIONS]


def _row(decision: Document) -> str:
    name, found = decision.path.rpartition("/")[2], HEAD.match(decision.text)
    assert found, name
    return f"| {name[:4]} | [{found['title']}]({name}) | {found['status']} | {found['date']} |"


@pytest.mark.parametrize(
    ("said", "broken", "stale"),
    [
        ("[x](nowhere.md), [y](errors.md#no-such-heading)", ["nowhere.md", "errors.md#no-such-heading"], []),
        ("[x](errors.md), [y](operating.md#roles-in-postgresql), [z](decisions/), [u](https://temporal.io)", [], []),
        ("`taskforce/application/nowhere.py` and `nowhere.py`", [], ["taskforce/application/nowhere.py", "nowhere.py"]),
        (
            "`application/runs/no_such_module` and `api/no_<noun>.py`",
            [],
            ["application/runs/no_such_module", "api/no_<noun>.py"],
        ),
        ("`core/domain/errors.NoSuchError`", [], ["core/domain/errors.NoSuchError"]),
        ("`core/domain/errors.Missing`, `core/domain/errors`, `api/routes/<noun>.py`, `offline/demo`", [], []),
        ("```\n`api/nowhere.py` and [x](nowhere.md)\n```\n", [], []),
    ],
    ids=["links", "good links", "paths", "short paths", "names", "good paths", "code"],
)
def test_what_a_document_names_wrongly_is_found(said: str, broken: Sequence[str], stale: Sequence[str]) -> None:
    document = Document("docs/planted.md", f"# Planted\n\n{said}\n")
    assert document.broken_links() == broken
    assert document.stale_paths() == stale


def test_an_import_of_what_is_not_there_is_found() -> None:
    (block,) = Document(
        "docs/planted.md",
        "1. So:\n\n   ```python\n   from taskforce.core.domain.errors import Missing, NoSuchError\n"
        "   from api.routes import runs, nowhere\n   from datetime import datetime\n   ```\n",
    ).python()
    assert missing_imports(block) == ["taskforce.core.domain.errors.NoSuchError", "api.routes.nowhere"]


def test_a_heading_that_stands_twice_has_two_anchors() -> None:
    planted = Document("docs/planted.md", "# A `tool`, and more\n\n## Twice\n\n## Twice\n\n```\n# none\n```\n")
    assert planted.anchors() == {"a-tool-and-more", "twice", "twice-1"}


@every_document
def test_prose_is_wrapped(document: Document) -> None:
    assert long_lines(document.prose) == []


def test_a_long_line_is_found_where_it_could_be_wrapped() -> None:
    text = f"short\n{'a word ' * 20}\n| {'cell ' * 30}|\n# {'heading ' * 20}\n{'x' * 200}\n`{'code ' * 30}`"
    assert long_lines(text) == ["a word " * 20]


def long_lines(prose: str) -> list[str]:
    """The lines that are too long, but for tables, headings, images, and what has no place to break."""
    return [
        line
        for line in prose.splitlines()
        if len(line) > LONGEST_LINE
        and not line.lstrip().startswith(("|", "#", "!["))
        # A span of code is not torn.
        and " " in re.sub(r"`[^`]+`", "", line).strip()[2:]
    ]
