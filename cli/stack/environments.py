"""What each of the stack's processes sees of this process's environment: what it needs, by a list for each."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

ORDINARY = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "XDG_*"),
    *("LD_LIBRARY_PATH", "DYLD_*", "MALLOC_*", "PYTHON*", "VIRTUAL_ENV"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
"""What programs of any kind read: where things are, language, the way out."""

BUILDS = ("GO*", "CGO_*", "CC", "CXX", "JAVA_HOME", "JAVA_OPTS", "MAVEN_*", "M2_HOME")
"""What the programs read that build others here."""

_DATABASE = ("PG*", "TASKFORCE_LOG_LEVEL")
_PRODUCT = (*ORDINARY, "PG*", "DATABASE_URL", "TASKFORCE_*", "TEMPORAL_*", "OTEL_*")
_GATEWAY = ("JWT_*", "LISTEN_DATABASE_URL", "AZURE_OPENAI_DEPLOYMENT")
_KEYS = ("*_API_KEY",)
_PROVIDERS = (
    *_KEYS,
    *("*_API_BASE", "*_BASE_URL", "*_API_VERSION", "LITELLM_*", "OPENAI_*", "AZURE_*", "ANTHROPIC_*", "GEMINI_*"),
    *("AWS_*", "GOOGLE_*", "GCLOUD_*", "VERTEX*", "OLLAMA_*", "HF_*", "HUGGINGFACE_*", "WATSONX_*", "DATABRICKS_*"),
)
_MORE = "TASKFORCE_WORKER_VARIABLES"
_SET = "set"
_NAMED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")


def chosen(environ: Mapping[str, str], patterns: Collection[str]) -> dict[str, str]:
    """Selects the variables that a process may see.

    Args:
        environ: All there are.
        patterns: Names, in which `*` stands for anything.
    """
    return {name: value for name, value in environ.items() if any(fnmatchcase(name, one) for one in patterns)}


def for_worker(environ: Mapping[str, str], profiles: Path) -> dict[str, str]:
    """Selects what the worker sees: it alone calls models, so it alone has their keys.

    Args:
        environ: What the person who starts the stack has set. `TASKFORCE_WORKER_VARIABLES` lists further variables, for
            tools of their own.
        profiles: The directory of the profiles; variables that they name are needed.
    """
    more = [name.strip() for name in environ.get(_MORE, "").split(",")]
    seen = chosen(environ, (*_PRODUCT, *_PROVIDERS, *named_by(profiles), *more))
    return _without_owner(seen)


def for_gateway(environ: Mapping[str, str], profiles: Path) -> dict[str, str]:
    """Selects what the gateway sees: which models' keys are set, since it offers those models, but no key.

    Args:
        environ: What the person who starts the stack has set.
        profiles: The directory of the profiles; variables that they name are needed.
    """
    # The gateway asks only which providers have a key; it calls none of them.
    keys = {name: _SET for name, value in chosen(environ, _KEYS).items() if value}
    return _without_owner({**keys, **chosen(environ, (*_PRODUCT, *_GATEWAY, *named_by(profiles)))})


def for_migrations(environ: Mapping[str, str]) -> dict[str, str]:
    """Selects what the migrations see, besides the database's address.

    Args:
        environ: What the person who starts the stack has set.
    """
    return chosen(environ, (*ORDINARY, *_DATABASE))


def named_by(profiles: Path) -> frozenset[str]:
    """Finds the variables that profiles refer to as `${NAME}`.

    Args:
        profiles: Their directory.
    """
    found: set[str] = set()
    for file in profiles.glob("*.yaml"):
        with suppress(OSError, UnicodeDecodeError):  # the process that reads it as a profile says what is wrong
            found |= set(_NAMED.findall(file.read_text()))
    return frozenset(found)


def _without_owner(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "MIGRATION_DATABASE_URL"}
