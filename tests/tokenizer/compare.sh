#!/usr/bin/env bash
# Runs compare_hf.py in a virtual environment of its own.
#   tests/tokenizer/compare.sh TOKENIZER_DRIVER VENV_DIR
# Exit code 77, with the reason, where the packages cannot be had.
set -euo pipefail
driver=$1
venv=$2
packages=(tokenizers==0.23.3 sentencepiece==0.2.3)

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
exec "$venv/bin/python" "$(dirname "$0")/compare_hf.py" "$driver"
