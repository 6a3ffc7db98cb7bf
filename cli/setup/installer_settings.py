"""What pip and uv are told by a person's settings: where packages come from, but never where they go.

Settings that name an index, a proxy or a certificate stay in force; those that would install into another place, leave
something out or add to the lock file (`PIP_USER`, `target = ...`) do not reach an installer. uv reads none of pip's
settings, so that an index that only pip knows is named to it.
"""

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PIP_HARMFUL = frozenset(
    {
        # where it goes
        *("user", "target", "prefix", "root", "python", "src", "platform", "python-version", "implementation", "abi"),
        # what else goes there, and what does not
        *("requirement", "requirements-from-script", "constraint", "build-constraint", "editable", "group", "no-deps"),
        *("upgrade", "upgrade-strategy", "force-reinstall", "ignore-installed", "require-hashes", "only-final"),
        # whether and what is said of it
        *("dry-run", "report", "quiet", "verbose", "debug", "help", "version", "log", "config-file", "isolated"),
    }
)
"""Names of pip's options that change what is installed, where, or what is said of it."""

UV_HARMFUL = frozenset(
    {
        *("target", "prefix", "root", "python", "system", "system-python", "managed-python", "no-managed-python"),
        *("python-platform", "python-version", "working-dir", "working-directory", "project", "project-environment"),
        *("constraint", "constraints", "override", "overrides", "exclude", "excludes", "no-deps", "torch-backend"),
        *("build-constraint", "build-constraints", "extra", "all-extras", "upgrade", "upgrade-package", "strict"),
        *("reinstall", "reinstall-package", "require-hashes", "verify-hashes", "no-verify-hashes"),
        *("dry-run", "quiet", "break-system-packages"),
    }
)
"""The same of uv, in variables and in the `pip` table of its files."""

_UV_PLACES = ("index", "default-index", "index-url", "extra-index-url", "find-links", "no-index")
_LISTED = re.compile(r"(?P<section>:env:|[\w-]+)\.(?P<name>[\w-]+)=(?P<value>.*)")
_SECTIONS = ("global", "install", ":env:")  # the later one wins, as for `pip install`


def pip_settings(python: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Reads what pip would do for this person, without what is harmful: by names as in its files.

    Args:
        python: An interpreter with pip, which reads its own files.
        environment: By default this process's.
    """
    given = dict(os.environ if environment is None else environment)
    # With these, pip would hand over to another interpreter or print something else.
    asking = {name: value for name, value in given.items() if name not in {"PIP_PYTHON", "PIP_QUIET", "PIP_VERBOSE"}}
    command = [str(python), "-I", "-m", "pip", "config", "list"]
    listed = subprocess.run(command, env=asking, capture_output=True, text=True, check=False)  # noqa: S603
    return settings_in(listed.stdout)


def settings_in(listing: str) -> dict[str, str]:
    """Reads what `pip config list` prints; harmful settings, and those of other commands, are left out."""
    sections: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        found = _LISTED.fullmatch(line)
        if found and found["section"] in sections and found["name"] not in PIP_HARMFUL:
            sections[found["section"]][found["name"]] = str(ast.literal_eval(found["value"]))
    return {name: value for section in _SECTIONS for name, value in sections[section].items()}


def pip_environment(settings: Mapping[str, str], environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Builds an environment in which pip knows these settings and no others.

    Args:
        settings: See `pip_settings`.
        environment: By default this process's.
    """
    given = dict(os.environ if environment is None else environment)
    kept = {name: value for name, value in given.items() if not name.upper().startswith("PIP_")}
    told = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in settings.items()}
    # The null device is pip's own word for "no files at all".
    return {**kept, **told, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def uv_environment(
    settings: Mapping[str, str], root: Path, environment: Mapping[str, str] | None = None
) -> dict[str, str] | None:
    """Builds an environment in which uv fetches from this person's package index; None when uv must not be used.

    Args:
        settings: Of pip; they count where uv itself is told of no index.
        root: The checkout; uv looks for its files there and above.
        environment: By default this process's.

    Returns:
        None when a file of uv's would make it install elsewhere; no option can undo that.
    """
    given = dict(os.environ if environment is None else environment)
    tables = list(_uv_tables(root, given))
    if any(UV_HARMFUL & table.keys() for table in (_table(table.get("pip")) for table in tables)):
        return None
    kept = {name: value for name, value in given.items() if _uv_name(name) not in UV_HARMFUL}
    knows = any(_uv_name(name) in _UV_PLACES for name in kept) or any(
        place in table or place in _table(table.get("pip")) for table in tables for place in _UV_PLACES
    )
    return {**kept, **({} if knows else _places(settings)), **_connection(settings, kept), "UV_NO_PROGRESS": "1"}


def _uv_name(variable: str) -> str:
    return variable.removeprefix("UV_").lower().replace("_", "-") if variable.startswith("UV_") else ""


def _places(settings: Mapping[str, str]) -> dict[str, str]:
    """Translates pip's package indexes into uv's variables."""
    # pip passes over a directory that is not there; uv fails.
    links = [link for link in settings.get("find-links", "").split() if "://" in link or Path(link).is_dir()]
    found = {
        "UV_DEFAULT_INDEX": settings.get("index-url", ""),
        "UV_INDEX": " ".join(settings.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(links),
        "UV_NO_INDEX": "1" if settings.get("no-index", "").lower() in {"1", "true", "yes", "on", "t", "y"} else "",
        # Like pip: a package may lie in any of them. Its hash says whether it is the right one.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if settings.get("extra-index-url") else "",
        "UV_KEYRING_PROVIDER": "subprocess" if settings.get("keyring-provider") in {"subprocess", "import"} else "",
    }
    return {name: value for name, value in found.items() if value}


def _connection(settings: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Translates pip's connection settings into uv's variables; what is set for uv, or for all programs, goes first."""
    proxy = settings.get("proxy", "")
    found = {
        "SSL_CERT_FILE": settings.get("cert", ""),
        "SSL_CLIENT_CERT": settings.get("client-cert", ""),
        "UV_INSECURE_HOST": " ".join(settings.get("trusted-host", "").split()),
        # uv takes whole seconds only.
        "UV_HTTP_TIMEOUT": settings.get("timeout", settings.get("default-timeout", "")).partition(".")[0],
        "ALL_PROXY": proxy if "://" in proxy else f"http://{proxy}" if proxy else "",
    }
    return {name: value for name, value in found.items() if value and name not in given}


def _uv_tables(root: Path, environment: Mapping[str, str]) -> Iterator[Mapping[str, object]]:
    if chosen := environment.get("UV_CONFIG_FILE"):
        yield _read(Path(chosen))
        return
    if environment.get("UV_NO_CONFIG"):
        return
    for path in _uv_files(root, environment):
        found = _read(path)
        yield found if path.name == "uv.toml" else _table(_table(found.get("tool")).get("uv"))


def _uv_files(root: Path, environment: Mapping[str, str]) -> Iterable[Path]:
    home = Path(environment.get("HOME") or Path.home())
    settings = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    shared = (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    above = [directory / name for directory in (root, *root.parents) for name in ("uv.toml", "pyproject.toml")]
    everybody = [Path("/etc/uv/uv.toml"), *(Path(directory) / "uv" / "uv.toml" for directory in shared if directory)]
    return [*above, settings / "uv" / "uv.toml", *everybody]


def _read(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
