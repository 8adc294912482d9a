#!/usr/bin/env bash
# Runs clang-tidy, with the checks of .clang-tidy, over our .cc files in a build folder's compile_commands.json.
#   tests/lint/tidy.sh [build folder, default build/cpu] [part of a path ...]    only files whose path has such a part
# Prints one line a finding and exits 1 when there are any, 77 when clang-tidy is not there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${1:-$root/build/cpu}
shift || true
jobs=${COHORT_TIDY_JOBS:-2}

tidy=$(command -v clang-tidy || command -v clang-tidy-14 || true)
if [ -z "$tidy" ]; then
  echo "tidy: skipped: clang-tidy is not installed"
  exit 77
fi
if [ ! -f "$build/compile_commands.json" ]; then
  echo "tidy: $build/compile_commands.json is missing: configure first, cmake --preset cpu"
  exit 1
fi

# Generated sources lie in the build folder, and are not ours to mend.
list=$(python3 - "$build" "$root" "$@" <<'PYTHON'
import json, os, sys
build, root, parts = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2]), sys.argv[3:]
for command in json.load(open(os.path.join(build, "compile_commands.json"))):
    path = os.path.realpath(os.path.join(command["directory"], command["file"]))
    is_ours = path.startswith(root + os.sep) and not path.startswith(build + os.sep)
    if is_ours and path.endswith(".cc") and (not parts or any(part in path for part in parts)):
        print(path)
PYTHON
)
if [ -z "$list" ]; then
  echo "tidy: no source files"
  exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
result=0
# -Wno-unknown-warning-option: the build is g++'s, and clang does not know all of its flags.
sort -u <<<"$list" | tr '\n' '\0' | xargs -0 -n 1 -P "$jobs" "$tidy" -p "$build" --quiet \
  --extra-arg=-Wno-unknown-warning-option >"$log" 2>/dev/null || result=1
findings=$(grep -E '^[^ ]+:[0-9]+:[0-9]+: (error|warning):' "$log" | sed "s|^$root/||" | sort -u || true)
if [ -n "$findings" ]; then
  echo "$findings"
  echo "tidy: $(wc -l <<<"$findings") findings"
  exit 1
fi
if [ "$result" -ne 0 ]; then
  tail -n 20 "$log"
  echo "tidy: clang-tidy failed"
  exit 1
fi
echo "tidy: $(sort -u <<<"$list" | wc -l) files, no findings"
