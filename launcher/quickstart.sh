#!/usr/bin/env bash
# From a fresh machine to generated text: installs what is missing, builds, and continues a sentence with the model
# in configs/quickstart/model. Arguments go to `cohort generate`.
set -euo pipefail
cd "$(dirname "$0")/.."

launcher/setup.sh --cpu
export PATH=$PATH:/usr/local/cuda/bin
echo "quickstart.sh: building build/release/launcher/cohort"
log=build/quickstart.log
mkdir -p build
if ! { cmake --preset release -DCOHORT_TESTS=OFF && cmake --build --preset release --target cohort; } >"$log" 2>&1; then
  tail -40 "$log" >&2
  echo "quickstart.sh: the build failed; all of it is in $log" >&2
  exit 1
fi

prompt="In the beginning God created"
if [ $# -eq 0 ]; then
  echo
  printf '%s' "$prompt"
  set -- --prompt "$prompt" --max-tokens 80
fi
build/release/launcher/cohort generate --model configs/quickstart/model "$@"
cat <<'EOF'

That text came from a model of 5 million parameters. Try your own:
  build/release/launcher/cohort generate --model configs/quickstart/model --prompt "And the king said" --temperature 0.8 --seed 1
  build/release/launcher/cohort --help
EOF
