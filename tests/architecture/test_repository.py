"""What the files of the repository may not hold."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.conftest import REPOSITORY

OWN = Path(__file__).relative_to(REPOSITORY).as_posix()
FORBIDDEN = {
    "the host of a package registry": re.compile(
        r"pypi\.org|files\.pythonhosted\.org|proxy\.golang\.org|registry\.npmjs|repo1?\.maven|artifactory|\bnexus[.-]\w+\.",
        re.IGNORECASE,
    ),
    "a path of one machine": re.compile(r"(?<![\w./:{}$-])/(?:work|home/\w+|Users/\w+|root|mnt/\w+)/[\w.]"),
    "an index": re.compile(r"--(?:extra-)?index-url[= ]https?:|^\s*(?:index-url|find-links)\s*=", re.MULTILINE),
}
LOCKS = ("requirements.lock", "requirements-dev.lock")


def texts() -> Iterator[tuple[str, str]]:
    """Every file that is, or is about to be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in sorted(set(listed.split("\0")) - {"", OWN}):
        path = REPOSITORY / name
        if path.is_file():
            try:
                yield name, path.read_text()
            except UnicodeDecodeError:
                continue


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names_the_workplace(what: str) -> None:
    found = [f"{name}: {match.group()!r}" for name, text in texts() for match in FORBIDDEN[what].finditer(text)]
    assert found == [], f"{what} is named in {found}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_hashes_and_names_no_place(lock: str) -> None:
    text = (REPOSITORY / lock).read_text()
    requirements = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(requirements) > 50
    assert [one.split()[0] for one in requirements if "--hash=sha256:" not in one] == []
    assert [one.split()[0] for one in requirements if "==" not in one.split("\n")[0]] == []
    assert "://" not in re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    assert "index-url" not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_uploads_that_were_malicious_are_not_locked(lock: str) -> None:
    assert not re.search(r"^litellm==1\.82\.[78]\b", (REPOSITORY / lock).read_text(), re.MULTILINE)
