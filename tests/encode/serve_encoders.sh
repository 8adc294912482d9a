#!/usr/bin/env bash
# Runs serve_encoders_test.py, with the OpenAI package, in a virtual environment of its own.
#   tests/encode/serve_encoders.sh VENV_DIR PATH_OF_COHORT [unittest arguments]
# Exit code 77, with the reason, where the packages cannot be had.
set -euo pipefail
venv=$1
shift

. "$(dirname "$0")/../make_venv.sh"
make_venv "$venv" openai==3.54.0
exec "$venv/bin/python" -B "$(dirname "$0")/serve_encoders_test.py" "$@"
