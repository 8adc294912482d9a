#!/usr/bin/env bash
# Installs what Cohort needs from the distribution's packages (Debian 12, Ubuntu 24.04). Quick when all is there.
#   launcher/setup.sh [--cpu] [--cuda] [--test]
#     --cpu   what building and running on CPUs needs (the default)
#     --cuda  checks that nvcc and NCCL are there: they come from the CUDA Toolkit, not from here
#     --test  also what the tests need
set -euo pipefail

# Debian 12 and Ubuntu 24.04 have it under their version's name; the plain package of Debian 12 is too old.
boost=libboost1.83-dev
! grep -q '^VERSION_CODENAME=bookworm' /etc/os-release || boost=libboost1.81-dev

packages=(
  build-essential cmake ninja-build pkg-config  # compiler and build
  ccache                                        # a second build in seconds
  libopenmpi-dev openmpi-bin                    # ranks: launcher and messages between processes
  libprotobuf-dev protobuf-compiler             # step plans between ranks
  libcli11-dev                                  # command line
  libfmt-dev                                    # formatted output
  libspdlog-dev                                 # log lines of ranks
  nlohmann-json3-dev                            # config.json, tokenizer.json, safetensors headers
  libpcre2-dev                                  # the splitting patterns of tokenizers, compiled by a JIT
  libsentencepiece-dev                          # tokenizer.model
  libyaml-cpp-dev                               # configuration
  "$boost"                                      # HTTP: Beast and Asio, headers only
  libssl-dev                                    # digests: API keys, keyed hashes of cache blocks
  zlib1g-dev                                    # compressed request bodies
  curl                                          # quickstart.sh as a client
  libutf8proc-dev                               # Unicode normal forms of tokenizers
)
test_packages=(
  libgtest-dev libbenchmark-dev                 # tests, benches
  libdnnl-dev libopenblas-dev                   # what our matrix product is compared with
  clang libclang-rt-dev clang-format clang-tidy # fuzzing, lint
  python3-jinja2                                # what our chat templates are compared with
  git python3 python3-venv                      # lint, comparison with Hugging Face's own tokenizers
  iproute2 slurm-wlm munge                      # hosts as network namespaces, a private Slurm
)

want_cuda=no
want_test=no
for arg in "$@"; do
  case $arg in
    --cpu) ;;
    --cuda) want_cuda=yes ;;
    --test) want_test=yes ;;
    *) echo "setup.sh: $arg: expected --cpu, --cuda or --test" >&2; exit 2 ;;
  esac
done
[ "$want_test" = no ] || packages+=("${test_packages[@]}")

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup.sh: to install ${missing[*]}, run as root or install sudo" >&2; exit 1; }
    as_root=(sudo)
  fi
  echo "setup.sh: installing ${missing[*]}"
  # slurm-wlm and munge would start their daemons; the tests start their own. A machine that has a policy keeps it.
  policy=/usr/sbin/policy-rc.d
  if ! [ -e "$policy" ]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod +x "$policy"
  fi
  log=$(mktemp)
  if ! { "${as_root[@]}" apt-get update -q -o Acquire::Retries=3 &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y -o Acquire::Retries=3 --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -20 "$log" >&2
    echo "setup.sh: apt-get failed, see above" >&2
    exit 1
  fi
  rm -f "$log"
fi

if [ "$want_cuda" = yes ]; then
  PATH=$PATH:/usr/local/cuda/bin
  command -v nvcc >/dev/null || { echo "setup.sh: nvcc not found: install the CUDA Toolkit (12.4 or later)" >&2; exit 1; }
  found=$(find /usr/include /usr/local/cuda/include "${NCCL_HOME:-/usr/local/cuda}/include" -name nccl.h -print -quit 2>/dev/null || true)
  [ -n "$found" ] || { echo "setup.sh: nccl.h not found: install libnccl-dev of the CUDA repository" >&2; exit 1; }
fi
