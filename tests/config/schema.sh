#!/usr/bin/env bash
# Runs schema_test.py in a virtual environment of its own.
#   tests/config/schema.sh VENV_DIR
# Exit code 77, with the reason, where the packages cannot be had.
set -euo pipefail
venv=$1
packages=(jsonschema==4.26.0 pyyaml==6.0.3)

if ! [ -f "$venv/complete" ]; then
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q "${packages[@]}"; } >"$venv.log" 2>&1; then
    tail -5 "$venv.log"
    echo "skipped: no virtual environment with ${packages[*]} (is PyPI reached?)"
    exit 77
  fi
  touch "$venv/complete"
fi
exec "$venv/bin/python" -B "$(dirname "$0")/schema_test.py"
