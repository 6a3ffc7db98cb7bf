#!/usr/bin/env bash
# Brings .venv up to date with one lock file: setup-venv.sh run|dev
# Does nothing, in a few milliseconds, when the same lock is installed already.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=$1
venv=.venv
python=$venv/bin/python
case $kind in
    run) lock=requirements.lock ;;
    dev) lock=requirements-dev.lock ;;
    *) echo "usage: $0 run|dev" >&2; exit 2 ;;
esac

new_enough() { # by running it: a version manager's shim can be on PATH and still fail
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer is needed: none of python3.13, python3.12, python3.11, python3 is." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python" >&2
    exit 1
}

make_venv() {
    local base
    base=$(find_python)
    echo "==> virtual environment in $venv, $("$base" --version)"
    rm -rf "$venv"
    "$base" -m venv "$venv"
}

# The project itself: the checkout on the path and its command, without a build and without an index.
install_project() {
    local packages
    packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    pwd -P >"$packages/taskforce-checkout.pth"
    printf '#!/bin/sh\nexec "%s/%s" -P -m cli.main "$@"\n' "$(pwd -P)" "$python" >"$venv/bin/taskforce"
    chmod +x "$venv/bin/taskforce"
}

# One line that counts instead of pip's three a package; its errors come by stderr, the rest is in pip.log.
show_progress() {
    local count=0 verb package begin="" end=$'\n'
    if [ -t 1 ]; then begin=$'\r\033[K' end=""; fi
    while read -r verb package; do
        case $verb in
            Collecting) count=$((count + 1)); package=${package%%==*} ;;
            Installing) echo "$begin    unpacking $count packages"; continue ;;
            Downloading) package=${package##*/} ;;
            *) continue ;;
        esac
        # A terminal shows each one; a file gets a line now and then.
        if [ -t 1 ] || { [ "$verb" = Collecting ] && [ $((count % 25)) = 0 ]; }; then
            printf '%s    %s of at most %s: %.60s%s' "$begin" "$count" "$1" "$package" "$end"
        fi
    done
}

checksum() {
    "$python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest(), sys.version_info[:2], sys.prefix)' "$1"
}

# A checkout that was moved has a venv whose scripts name the old place: sys.prefix is part of the stamp.
new_enough "$python" || make_venv
stamp=$venv/.installed-$kind
wanted=$(checksum "$lock")
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    echo "==> installing $lock, every package checked against its hash"
    rm -f "$venv"/.installed-*
    "$python" -m pip install --disable-pip-version-check --no-color --require-hashes --requirement "$lock" \
        --log "$venv/pip.log" | show_progress "$(grep -c '^[a-z].*==' "$lock")"
    install_project
    echo "$wanted" >"$stamp"
    # The development lock contains the other one, at the same versions.
    if [ "$kind" = dev ]; then checksum requirements.lock >"$venv/.installed-run"; fi
fi
