#!/usr/bin/env bash
# Runs kserve_test.py, with Triton's client, in a virtual environment of its own.
#   tests/serve/kserve.sh VENV_DIR PATH_OF_COHORT [unittest arguments]
# Exit code 77, with the reason, where the packages cannot be had.
set -euo pipefail
venv=$1
shift

. "$(dirname "$0")/../make_venv.sh"
command -v curl >/dev/null || { echo "skipped: curl is not installed"; exit 77; }
make_venv "$venv" 'tritonclient[http]==2.64.0'
exec "$venv/bin/python" -B "$(dirname "$0")/kserve_test.py" "$@"
