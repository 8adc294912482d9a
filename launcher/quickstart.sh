#!/usr/bin/env bash
# From a fresh machine to a served model: installs what is missing, builds, serves the model in configs/quickstart/model
# on two ranks, asks it to continue a sentence through the API, and ends the server.
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

# mpirun asks root whether it means it, and counts slots where a host has fewer cores than ranks.
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
serve=(launcher/mpirun.sh -np 2 --oversubscribe build/release/launcher/cohort serve --config configs/quickstart.yaml
       --tp 2 --device cpu)
echo "quickstart.sh: ${serve[*]}"
log=build/quickstart-serve.log
"${serve[@]}" --server-port 0 >"$log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true' EXIT

url=
for _ in $(seq 600); do
  url=$(sed -n 's|.*listening on \(http://[^ ]*\).*|\1|p' "$log")
  if [ -n "$url" ] && curl -sf "$url/health" >/dev/null; then break; fi
  if ! kill -0 "$server" 2>/dev/null; then
    cat "$log" >&2
    echo "quickstart.sh: the server ended before it was ready" >&2
    exit 1
  fi
  sleep 0.1
done
if ! curl -sf "$url/health" >/dev/null; then
  cat "$log" >&2
  echo "quickstart.sh: the server is not ready after a minute" >&2
  exit 1
fi

prompt="In the beginning God created"
echo
printf '%s' "$prompt"
# Each event of the stream is a line "data: {...}" with a piece of text.
curl -sfN "$url/v1/completions" -H 'Content-Type: application/json' \
    -d "{\"model\": \"quickstart\", \"prompt\": \"$prompt\", \"max_tokens\": 80, \"temperature\": 0, \"stream\": true}" |
  while IFS= read -r line; do
    [[ $line =~ \"text\":\ ?\"(([^\"\\]|\\.)*)\" ]] || continue
    text=${BASH_REMATCH[1]//\\\"/\"}
    printf '%b' "$text"
  done
cat <<EOF


That text came from a model of 5 million parameters, split between two ranks and streamed over HTTP. Serve it yourself:
  ${serve[*]}
and, in another terminal:
  curl -N http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \\
    -d '{"model": "quickstart", "prompt": "And the king said", "max_tokens": 60, "temperature": 0.8, "stream": true}'
Without a server:
  build/release/launcher/cohort generate --model configs/quickstart/model --prompt "And the king said"
EOF
