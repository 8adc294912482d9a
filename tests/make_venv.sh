# Sourced by tests that need packages of PyPI:
#   make_venv VENV_DIR PACKAGE...   a virtual environment with them, made once
# Ends the script with exit code 77 and the reason where the packages cannot be had, or not within five minutes.
make_venv() {
  local venv=$1
  shift
  mkdir -p "$(dirname "$venv")"
  (
    flock 9  # another test may be making it
    [ ! -f "$venv/complete" ] || exit 0
    rm -rf "$venv"
    if ! { python3 -m venv "$venv" && timeout 300 "$venv/bin/pip" install -q "$@"; } >"$venv.log" 2>&1; then
      tail -5 "$venv.log"
      echo "skipped: no virtual environment with $* (is PyPI reached?)"
      exit 77
    fi
    touch "$venv/complete"
  ) 9>"$venv.lock" || exit
}
