#!/bin/sh
# Makes an environment from a lock: bootstrap.sh LOCK DIRECTORY STAMP, or `bootstrap.sh tools` for uv alone.
# Run by the Makefile, from the root of the checkout. PYTHON names the interpreter to use.
set -eu

TOOLS=.venv/tools
# A range, so that a machine with an older mirror still finds one.
UV_REQUIREMENT='uv>=0.7'

say() { printf '%s\n' "$*" >&2; }

# The first interpreter that is new enough, as a full path: the shims of version managers change with the directory.
find_python() {
    for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        [ -n "$name" ] || continue
        found=$("$name" -c 'import sys; print(sys.executable if sys.version_info >= (3, 11) else "")' 2>/dev/null) || found=
        if [ -n "$found" ]; then
            printf '%s\n' "$found"
            return 0
        fi
        if [ "$name" = "${PYTHON:-}" ]; then
            say "PYTHON=$name is not a Python 3.11 or newer."
            return 1
        fi
    done
    say "No Python 3.11 or newer was found. Install one, or name it: make PYTHON=/path/to/python3 ..."
    return 1
}

make_tools() {
    [ -x "$TOOLS/bin/uv" ] && "$TOOLS/bin/uv" --version >/dev/null 2>&1 && return 0
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "This Python has no venv module. On Debian and Ubuntu: apt-get install python$version-venv"
        return 1
    fi
    say "creating $TOOLS ..."
    rm -rf "$TOOLS"
    "$python" -m venv "$TOOLS"
    "$TOOLS/bin/python" -m pip install --quiet "$UV_REQUIREMENT"
}

python=$(find_python)
make_tools
[ "$1" != tools ] || exit 0

lock=$1 directory=$2 stamp=$3
say "creating $directory from requirements/$lock.txt ..."
# Made anew when its interpreter has gone, or another one is asked for by name; else only what differs is installed.
if ! "$directory/bin/python" -c '' 2>/dev/null || [ -n "${PYTHON:-}" ]; then
    "$TOOLS/bin/uv" venv --quiet --clear --python "$python" "$directory"
fi
"$TOOLS/bin/uv" pip sync --quiet --require-hashes --python "$directory/bin/python" "requirements/$lock.txt"
# The project itself goes in without its dependencies and without a build environment: the lock holds both.
"$TOOLS/bin/uv" pip install --quiet --no-deps --no-build-isolation --python "$directory/bin/python" --editable .
rm -f ".venv/$lock"-*.stamp
: > "$stamp"
