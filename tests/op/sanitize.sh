#!/usr/bin/env bash
# Runs every op test that uses a GPU under compute-sanitizer, each test as a process, several at once on each GPU.
#   tests/op/sanitize.sh [BUILD_DIR, default build/release] [memcheck|racecheck|synccheck|initcheck ...]
#   COHORT_SANITIZE_SECONDS=600  how long a test may run (racecheck makes the largest a thousand times slower)
#   COHORT_SANITIZE_JOBS=8       tests at once on a GPU
# What a test printed is in BUILD_DIR/sanitize/TOOL/, and a test that is "clean" there is not run again: an interrupted
# run goes on, a changed kernel needs the folder deleted. Exits 1 unless all are clean, 77 where nothing can be run.
set -euo pipefail

build=${1:-build/release}
shift || true
tools=("$@")
[ ${#tools[@]} -gt 0 ] || tools=(memcheck racecheck)
export COHORT_SANITIZE_SECONDS=${COHORT_SANITIZE_SECONDS:-600}
jobs_of_a_gpu=${COHORT_SANITIZE_JOBS:-8}

skip() {
  echo "sanitize: skipped: $1"
  exit 77
}

command -v compute-sanitizer >/dev/null || skip "compute-sanitizer is not installed"
num_gpus=$( (nvidia-smi -L 2>/dev/null || true) | grep -c '^GPU') || skip "there is no GPU"

# run_one TOOL PROGRAM TEST GPU: a line about it.
run_one() {
  local log begin=$SECONDS state=clean
  log=$(dirname "$2")/../../sanitize/$1/$(basename "$2").${3//\//_}
  if [ "$(tail -n 1 "$log" 2>/dev/null)" = clean ]; then return; fi
  # cuBLASLt's kernels are its makers' to check: racecheck does not know how they wait and names every one of them.
  CUDA_VISIBLE_DEVICES=$4 timeout "$COHORT_SANITIZE_SECONDS" compute-sanitizer --tool "$1" --error-exitcode 1 \
    --kernel-name-exclude kns=nvjet,kns=cublas,kns=cutlass \
    "$2" --gtest_brief=1 --gtest_filter="$3" >"$log" 2>&1 || state="not clean"
  # Both must be there: a process that dies early prints neither, and a skipped test has not passed.
  if ! grep -q 'PASSED.* 1 test' "$log" || ! grep -qE 'SUMMARY: 0 (errors|hazards)' "$log"; then state="not clean"; fi
  if ! grep -q 'SUMMARY' "$log"; then state="without an end"; fi
  echo "$state" >>"$log"
  echo "$state: $1 $(basename "$2") $3, $((SECONDS - begin)) s"
}
export -f run_one

# Lines "PROGRAM TEST" of the tests whose names say that they use a GPU.
list_tests() {
  local program
  for program in "$build"/tests/op/*_test; do
    "$program" --gtest_list_tests --gtest_filter='*Cuda*:-*CudaPolicy*' |
      awk -v program="$program" '/^[^ ]/ { suite = $1 } /^ / { print program, suite $1 }'
  done
}

all_clean=0
for tool in "${tools[@]}"; do
  mkdir -p "$build/sanitize/$tool"
  list_tests | awk -v tool="$tool" -v gpus="$num_gpus" '{ print tool, $1, $2, NR % gpus }' |
    xargs -P "$((jobs_of_a_gpu * num_gpus))" -L 1 bash -c 'run_one "$@"' run_one
  num_tests=$(list_tests | wc -l)
  num_clean=$(tail -qn 1 "$build/sanitize/$tool"/* | grep -cx clean || true)
  echo "sanitize: $tool: $num_clean of $num_tests clean"
  [ "$num_clean" -eq "$num_tests" ] || all_clean=1
done
exit "$all_clean"
