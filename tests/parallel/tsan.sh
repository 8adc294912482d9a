#!/usr/bin/env bash
# Builds the tests of ranks as threads under ThreadSanitizer and runs them. Exits 77 where there is no ThreadSanitizer.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! echo 'int main() {}' | c++ -x c++ -fsanitize=thread -o /dev/null - 2>/dev/null; then
  echo "skipped: the compiler has no ThreadSanitizer"
  exit 77
fi
cmake --preset tsan
cmake --build --preset tsan --target parallel_test
# Threads meet each other in the same places whatever the family.
build/tsan/tests/parallel/parallel_test --gtest_filter='-*/family_*'
