#!/usr/bin/env bash
# Runs compare_jinja.py with a Python that has jinja2.
#   tests/chat/compare.sh CHAT_DRIVER
# Exit code 77 where there is none.
set -euo pipefail
for python in python3 /usr/bin/python3; do
  if "$python" -c 'import jinja2' 2>/dev/null; then exec "$python" -W ignore "$(dirname "$0")/compare_jinja.py" "$1"; fi
done
echo "skipped: no Python with jinja2 (python3-jinja2)"
exit 77
