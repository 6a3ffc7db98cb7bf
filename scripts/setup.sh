#!/usr/bin/env bash
# Finds Python 3.11 or newer and lets it set this checkout up: see `scripts/setup.sh --help`.
set -euo pipefail
# Whatever a person's shell has set for other work must not lead elsewhere: CDPATH makes `cd` go to another directory
# and print it, the others make any Python load another one's modules.
unset CDPATH PYTHONHOME PYTHONPATH PYTHONPLATLIBDIR PYTHONEXECUTABLE PYTHONOPTIMIZE PYTHONINSPECT __PYVENV_LAUNCHER__
cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

new_enough() { # by running it: a version manager's shim can be on PATH and still fail
    "$1" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in .venv/bin/python "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
        if [ -n "$candidate" ] && new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer is needed: none of ${PYTHON:+"$PYTHON, "}python3.13, python3.12, python3.11, python3 is." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python" >&2
    return 1
}

python=$(find_python)
# Isolated, and without anybody's site-packages: what it needs is the standard library and this checkout.
exec "$python" -I -S scripts/setup.py "$@"
