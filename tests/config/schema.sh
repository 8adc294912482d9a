#!/usr/bin/env bash
# Runs schema_test.py in a virtual environment of its own.
#   tests/config/schema.sh VENV_DIR
# Exit code 77, with the reason, where the packages cannot be had.
set -euo pipefail
venv=$1

. "$(dirname "$0")/../make_venv.sh"
make_venv "$venv" jsonschema==4.26.0 pyyaml==6.0.3
exec "$venv/bin/python" -B "$(dirname "$0")/schema_test.py"
