#!/bin/sh
# The tests on the oldest releases of our direct dependencies that pyproject.toml allows. Arguments go to pytest.
set -eu

sh scripts/bootstrap.sh tools
uv=.venv/tools/bin/uv
directory=.venv/lowest
# No hashes: this set is computed here and now, and thrown away.
"$uv" pip compile pyproject.toml --quiet --resolution lowest-direct --python-version 3.11 --no-header --extra server --extra jwt \
    --extra redis --extra sentry --group test --group bench --output-file .venv/lowest.txt
"$uv" venv --quiet --clear --python "$(.venv/tools/bin/python -c 'import sys; print(sys.executable)')" "$directory"
"$uv" pip sync --quiet --python "$directory/bin/python" .venv/lowest.txt
"$uv" pip install --quiet --no-deps --no-build-isolation --python "$directory/bin/python" --editable .
grep -E '^(fastapi|starlette|pydantic|pydantic-settings|structlog|prometheus-client|limits)==' .venv/lowest.txt
exec "$directory/bin/python" -m pytest "$@"
