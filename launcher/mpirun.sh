#!/usr/bin/env bash
# mpirun, as Cohort wants it: gives up a host that is cut off, leaves binding to Cohort, passes the environment on.
#   launcher/mpirun.sh -np 4 --host node1:2,node2:2 build/release/launcher/cohort generate --config FILE --prompt TEXT
# Takes all that mpirun takes. What is set here are defaults: a --mca flag or an OMPI_MCA_ variable of yours goes first.
#   MPIRUN_SSH=PROGRAM  called instead of ssh, with the arguments of ssh
set -euo pipefail

# As mpirun's remote shell: ssh, but one that notices within 8 s that the host is cut off. mpirun then ends the job. But
# if it is ending already, because a rank told it to, it does not look at ssh and waits for that host's answer: longer
# than five minutes, a SIGTERM or not. Without it the daemons of the other hosts end by themselves.
if [ "${1-}" = --ssh ]; then
  shift
  code=0
  "${MPIRUN_SSH:-ssh}" -o ServerAliveInterval=2 -o ServerAliveCountMax=3 "$@" || code=$?
  if [ "$code" -eq 255 ]; then  # ssh's own failure, not the command's
    {
      sleep 2
      if [ "$(cat "/proc/$PPID/comm" 2>/dev/null)" = mpirun ]; then
        echo "mpirun.sh: host $1 does not answer, and mpirun waits for it: ending mpirun" >&2
        kill -KILL "$PPID"
      fi
    } </dev/null >/dev/null &
  fi
  exit "$code"
fi

: "${OMPI_MCA_plm_rsh_agent=$(readlink -f "$0") --ssh}"
# Between mpirun and its daemon on a host: a probe after 2 s of silence, then one a second, five in all; for where it is
# not ssh that starts daemons. Neither is quicker than Cohort's heartbeat, which gives up after 4 s and names the rank;
# mpirun's message only names the host.
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

# mpirun answers SIGTERM by ending its ranks within two seconds, and a server wants to drain. SIGUSR2 it passes on to the
# ranks, which `cohort serve` takes for SIGTERM, and other commands end of. A second SIGTERM is mpirun's own.
setpriv --pdeathsig TERM mpirun "${arguments[@]}" <&0 &
mpirun=$!
trap 'trap "kill -TERM $mpirun" TERM; kill -USR2 "$mpirun"' TERM
code=0
wait "$mpirun" || code=$?
while kill -0 "$mpirun" 2>/dev/null; do  # a signal ended the wait
  code=0
  wait "$mpirun" || code=$?
done
exit "$code"
