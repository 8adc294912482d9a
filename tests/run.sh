#!/usr/bin/env bash
# Builds everything and runs every test. The last line is "N passed, N failed, N skipped".
#   COHORT_FUZZ_SECONDS=30  how long each fuzz target runs
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/local/cuda/bin
build=build/release
mkdir -p "$build"

# step NAME COMMAND...: runs it with its output in a file, which is shown if it fails.
step() {
  local name=$1
  shift
  echo "run.sh: $name"
  if ! "$@" >"$build/$name.log" 2>&1; then
    { grep -E -A12 'FAILED:|[Ee]rror' "$build/$name.log" || tail -40 "$build/$name.log"; } | head -100
    echo "run.sh: $name failed; all of it is in $build/$name.log"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
  fi
}

launcher/setup.sh --cpu --test
step configure cmake --preset release -DCOHORT_TESTS=ON
step build cmake --build --preset release
echo "run.sh: test"
ctest --test-dir "$build" -j 2 --output-on-failure --output-junit tests.xml >"$build/test.log" 2>&1 || true
python3 tests/summarize.py "$build/tests.xml"
