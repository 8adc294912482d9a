#!/usr/bin/env bash
# Runs clients_test.py, with the OpenAI package, in a virtual environment of its own.
#   tests/serve/clients.sh VENV_DIR PATH_OF_COHORT [unittest arguments]
# Exit code 77, with the reason, where the packages cannot be had.
set -euo pipefail
venv=$1
shift

. "$(dirname "$0")/../make_venv.sh"
command -v curl >/dev/null || { echo "skipped: curl is not installed"; exit 77; }
make_venv "$venv" openai==3.54.0
exec "$venv/bin/python" -B "$(dirname "$0")/clients_test.py" "$@"
