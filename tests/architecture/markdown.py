"""What a Markdown document names: files, paths, anchors and Python."""

import ast
import re
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.architecture.conftest import REPOSITORY

ROOTS = ("", "taskforce", "taskforce/infrastructure", "tests/replay")
"""Where paths in prose begin; what is said of one layer may leave its folder out."""
NO_PATHS = {"application/json": "a media type"}
"""What looks like a path of ours and is none, each with what it is."""

_FENCE = re.compile(r"^([ ]*)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_PATH = re.compile(r"\w[\w.-]*(?:/[\w.*<>-]+)+/?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_PLACEHOLDER = re.compile(r"<[\w-]+>")


@dataclass(frozen=True)
class Document:
    """A Markdown file.

    Attributes:
        path: Its path within the repository.
        text: What it says.
    """

    path: str
    text: str

    @property
    def prose(self) -> str:
        """The text without its blocks of code."""
        return _FENCE.sub("", self.text)

    def anchors(self) -> set[str]:
        """What a link to one of its headings may end with, as GitHub makes it."""
        found: dict[str, int] = {}
        for heading in re.findall(r"^#+ +(.+?)[ #]*$", self.prose, re.MULTILINE):
            plain = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-")
            found[plain] = found.get(plain, -1) + 1
        return {
            name if number == 0 else f"{name}-{number}" for name, last in found.items() for number in range(last + 1)
        }

    def sections(self) -> Mapping[str, str]:
        """What stands under each heading of the second level."""
        parts = re.split(r"^## (.+)$", self.prose, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    def python(self) -> Iterator[ast.Module]:
        """The blocks of Python, which must be read as such."""
        for _, language, block in _FENCE.findall(self.text):
            if language == "python":
                yield ast.parse(textwrap.dedent(block), self.path)

    def broken_links(self) -> list[str]:
        """The relative links that lead nowhere."""
        links = _LINK.findall(_SPAN.sub("", self.prose))
        return [link for link in links if not _SCHEME.match(link) and not self._leads_somewhere(link)]

    def _leads_somewhere(self, link: str) -> bool:
        name, _, anchor = link.partition("#")
        target = (REPOSITORY / self.path).parent / name if name else REPOSITORY / self.path
        page = target / "README.md" if target.is_dir() else target
        if not page.is_file():
            return False
        return not anchor or anchor in Document(link, page.read_text()).anchors()

    def stale_paths(self) -> list[str]:
        """The paths and names of files in backticks that are not there."""
        return [span for span in _SPAN.findall(self.prose) if _names_a_file(span) and not _is_there(span)]


def documents() -> list[Document]:
    """Every Markdown file that is, or is about to be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    names = sorted(set(listed.split("\0")) - {""})
    return [Document(name, (REPOSITORY / name).read_text()) for name in names if (REPOSITORY / name).is_file()]


def _names_a_file(span: str) -> bool:
    if re.fullmatch(r"\w+\.py", span):
        return True
    first = span.partition("/")[0]
    return (
        bool(_PATH.fullmatch(span)) and span not in NO_PATHS and any((REPOSITORY / r / first).is_dir() for r in ROOTS)
    )


def _is_there(span: str) -> bool:
    if "/" not in span:
        return span in _names_of_python_files()
    pattern = _PLACEHOLDER.sub("*", span.rstrip("/"))
    return any(_found(REPOSITORY / root, pattern) for root in ROOTS)


def _found(root: Path, pattern: str) -> bool:
    """Whether a path is there: a file, a folder, a module without its ending, or a name within a module."""
    if any(True for end in ("", ".py") for _ in root.glob(pattern + end)):
        return True
    module, _, name = pattern.rpartition(".")
    path = root / f"{module}.py"
    return bool(module) and path.is_file() and name in names_within(path)


@cache
def _names_of_python_files() -> frozenset[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return frozenset(name.rpartition("/")[2] for name in listed.splitlines())


@cache
def names_within(path: Path) -> frozenset[str]:
    """The names that a module has at its top level, those that it imports included."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return frozenset(found)


def missing_imports(tree: ast.Module) -> list[str]:
    """What a block of Python imports of the repository's own and is not there."""
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return [
        f"{node.module}.{one.name}" for node in imported for one in node.names if not _imports(node.module, one.name)
    ]


def _imports(module: str | None, name: str) -> bool:
    path = REPOSITORY / (module or "").replace(".", "/")
    if not (REPOSITORY / path.relative_to(REPOSITORY).parts[0]).is_dir() and not path.with_suffix(".py").is_file():
        return True
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return source.is_file() and (name in names_within(source) or (path / f"{name}.py").is_file())
