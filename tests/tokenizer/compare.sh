#!/usr/bin/env bash
# Runs compare_hf.py in a virtual environment of its own.
#   tests/tokenizer/compare.sh TOKENIZER_DRIVER VENV_DIR
# Exit code 77, with the reason, where the packages cannot be had.
set -euo pipefail
driver=$1
venv=$2

. "$(dirname "$0")/../make_venv.sh"
make_venv "$venv" tokenizers==0.23.3 sentencepiece==0.2.3
exec "$venv/bin/python" "$(dirname "$0")/compare_hf.py" "$driver"
