#!/usr/bin/env bash
# Builds the libFuzzer targets and runs each for some seconds over its corpus.
#   tests/fuzz/run.sh [seconds per target, default COHORT_FUZZ_SECONDS or 30] [target ...]
# Prints one line a target; exits 1 when one found something, 77 when clang is not there. What is found, and the corpus
# as it grows, lie in build/fuzz/findings and build/fuzz/corpus. From the same corpus the same inputs are tried first;
# COHORT_FUZZ_SEED=N tries others.
set -euo pipefail

seconds=${1:-${COHORT_FUZZ_SECONDS:-30}}
shift || true
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${COHORT_FUZZ_BUILD:-$root/build/fuzz}

if ! command -v clang++ >/dev/null; then
  echo "fuzz: skipped: clang++ is not installed"
  exit 77
fi

mkdir -p "$build"
log=$build/build.log
cd "$root"
if ! { cmake --preset fuzz -B "$build" && cmake --build "$build" --target fuzzers; } >"$log" 2>&1; then
  tail -n 40 "$log"
  echo "fuzz: the targets do not build, see $log"
  exit 1
fi

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for program in "$build"/tests/fuzz/fuzz_*; do
    if [ -f "$program" ] && [ -x "$program" ]; then targets+=("$(basename "$program")"); fi
  done
fi

failed=0
for target in "${targets[@]}"; do
  corpus=$build/corpus/$target
  findings=$build/findings/$target
  mkdir -p "$corpus" "$findings"
  seeds=$root/tests/fuzz/corpus/${target#fuzz_}
  if [ -d "$seeds" ]; then cp -r "$seeds"/. "$corpus"/; fi
  # An input that takes half a minute hangs, on a busy machine too.
  options=(-max_total_time="$seconds" -seed="${COHORT_FUZZ_SEED:-1}" -rss_limit_mb=2048 -timeout=30 -print_final_stats=1
           -artifact_prefix="$findings/")
  dictionary=$root/tests/fuzz/${target#fuzz_}.dict
  if [ -f "$dictionary" ]; then options+=(-dict="$dictionary"); fi
  if "$build/tests/fuzz/$target" "${options[@]}" "$corpus" >"$findings/log" 2>&1; then
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$findings/log")
    echo "$target: ok: $executed inputs in $seconds s, $(find "$corpus" -type f | wc -l) in the corpus"
  else
    failed=1
    grep -m 5 -E "ERROR|SUMMARY|runtime error|Test unit written" "$findings/log" || tail -n 20 "$findings/log"
    echo "$target: FINDING, see $findings"
  fi
done
exit $failed
