#!/usr/bin/env bash
# mpirun, as Cohort wants it: gives up a host that is cut off, leaves binding to Cohort, passes the environment on.
#   launcher/mpirun.sh -np 4 --host node1:2,node2:2 build/release/launcher/cohort generate --config FILE --prompt TEXT
# Takes all that mpirun takes. What is set here are defaults: a --mca flag or an OMPI_MCA_ variable of yours goes first.
#   MPIRUN_SSH=PROGRAM  called instead of ssh, with the arguments of ssh
set -euo pipefail

# As mpirun's remote shell: ssh, but one that notices within 8 s that the host is cut off. mpirun then ends the job, unless
# it is ending already: a rank has told it to, and it waits for an answer of that host. Then it has to be told twice.
if [ "${1-}" = --ssh ]; then
  shift
  code=0
  "${MPIRUN_SSH:-ssh}" -o ServerAliveInterval=2 -o ServerAliveCountMax=3 "$@" || code=$?
  if [ "$code" -eq 255 ]; then  # ssh's own failure, not the command's
    for signal in TERM TERM KILL; do
      sleep 1
      [ "$(cat "/proc/$PPID/comm" 2>/dev/null)" != mpirun ] || kill -s "$signal" "$PPID"
    done >/dev/null 2>&1 </dev/null &
  fi
  exit "$code"
fi

# All by one mpirun, so that all are its own children.
: "${OMPI_MCA_plm_rsh_agent=$(readlink -f "$0") --ssh}" "${OMPI_MCA_plm_rsh_no_tree_spawn:=1}"
# Between mpirun and its daemon on a host, once connected: a probe after 2 s of silence, then one a second, five in all.
# By default mpirun waits for more than ten minutes. Neither is quicker than Cohort's heartbeat, which gives up after 4 s
# and names the rank; mpirun's message only names the host.
: "${OMPI_MCA_oob_tcp_keepalive_time:=2}"
: "${OMPI_MCA_oob_tcp_keepalive_intvl:=1}"
: "${OMPI_MCA_oob_tcp_keepalive_probes:=5}"
# Two ranks, and mpirun would pin each to a core, all its threads with it. Cohort divides a host's cores itself.
: "${OMPI_MCA_hwloc_base_binding_policy:=none}"
# One host is filled before the next, so that a tensor group, whose ranks follow each other, stays on one host.
: "${OMPI_MCA_rmaps_base_mapping_policy:=slot}"
export "${!OMPI_MCA_@}"

# ssh does not carry variables to other hosts; -x does, for one of the programs that ":" separates.
forwards=()
for name in "${!NCCL_@}" "${!UCX_@}" "${!COHORT_@}"; do
  [[ " $* " = *" -x $name"[\ =]* ]] || forwards+=(-x "$name")
done
arguments=("${forwards[@]}")
for argument in "$@"; do
  arguments+=("$argument")
  [ "$argument" != : ] || arguments+=("${forwards[@]}")
done
exec mpirun "${arguments[@]}"
