#!/usr/bin/env bash
# A private Slurm of four nodes, vn0 to vn3, on this machine: brings it up, runs COMMAND with SLURM_CONF set, takes it
# down and ends what is left of its jobs. Everything lies in one temporary directory, the munge key and socket too.
#   slurm.sh COMMAND...
# Exit code: that of COMMAND; 77, with the reason, where there is no Slurm or no root.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
PATH=$PATH:/usr/sbin:/sbin

skip() {
  echo "skipped: $*"
  exit 77
}
[ "$(id -u)" -eq 0 ] || skip "a private Slurm needs root"
grep -q ' /sys/fs/cgroup' /proc/mounts || skip "no control groups are mounted, and slurmd does not start without"
for tool in munged mungekey slurmctld slurmd srun sbatch; do
  command -v "$tool" >/dev/null || skip "$tool is not installed (packages munge and slurm-wlm)"
done

# Daemons refuse sockets and keys in a directory that others cannot enter or can write to.
dir=$(mktemp -d /tmp/cohort-slurm.XXXXXX)
chmod 711 "$dir"
export SLURM_CONF=$dir/slurm.conf
daemons=()  # process ids, munged first

# A daemon that ends with this script, even if that is killed.
start() {
  setpriv --pdeathsig KILL "$@" >/dev/null 2>&1 </dev/null &
  daemons+=($!)
}

# Waits up to $1 tenths of a second for the command that follows to succeed.
await() {
  local tenths=$1
  shift
  while ! "$@" >/dev/null 2>&1; do
    [ "$tenths" -gt 0 ] || return 1
    tenths=$((tenths - 1))
    sleep 0.1
  done
}

is_gone() { ! kill -0 "$1" 2>/dev/null; }

# What still has a file of this directory open: the daemons, and steps that outlived their node's.
owned_pids() {
  find /proc/[0-9]*/fd -lname "$dir/*" 2>/dev/null | cut -d/ -f3 | sort -u
}

down() {
  local code=$? pid i
  trap - EXIT
  timeout 5 scancel --user=root >/dev/null 2>&1 || true
  await 50 bash -c '[ -z "$(squeue -h)" ]' || true
  # munged last: the others answer nobody without it.
  for ((i = ${#daemons[@]} - 1; i >= 0; --i)); do
    pid=${daemons[i]}
    kill "$pid" 2>/dev/null || true
    # slurmctld takes tens of seconds over a SIGTERM at times.
    await 20 is_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  for pid in $(owned_pids); do kill -KILL "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
  exit "$code"
}
trap down EXIT
trap 'exit 143' TERM INT HUP

fail() {
  echo "slurm.sh: $*" >&2
  tail -n 5 "$dir"/log/* >&2
  exit 1
}

# Five ports in a row below those that the system gives out by itself. Two runs may still choose the same between look
# and use; then a daemon fails, and says so.
choose_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 1000 * 10))
    ss -Hltn | awk '{ print $4 }' | grep -qE ":$((port / 10))[0-4]$" || { echo "$port"; return; }
  done
  fail "no free ports"
}

mkdir -p "$dir"/{state,log} "$dir"/{spool,tmp}.vn{0..3}
host=$(hostname -s)
port=$(choose_port)
echo 'CgroupAutomount=no' >"$dir/cgroup.conf"
cat >"$SLURM_CONF" <<END
ClusterName=cohort
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=pmix
ReturnToService=2
SlurmdTimeout=10
KillWait=3
JobRequeue=1
# Without %n PMIx fails with "/tmp/spmix_appdir_...: File exists".
TmpFS=$dir/tmp.%n
NodeName=DEFAULT CPUs=2 RealMemory=1000 State=UNKNOWN
NodeName=vn[0-3] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 4))]
PartitionName=main Nodes=vn[0-3] Default=YES MaxTime=INFINITE State=UP
END

srun --mpi=list 2>&1 | grep -q pmix || skip "this Slurm has no pmix"
mungekey --create --keyfile="$dir/munge.key"
start munged --foreground --socket="$dir/munge.socket" --key-file="$dir/munge.key" --pid-file="$dir/munged.pid" \
  --seed-file="$dir/munged.seed" --log-file="$dir/log/munged.log"
await 300 test -S "$dir/munge.socket" || fail "munged does not start"
start slurmctld -D
for node in vn0 vn1 vn2 vn3; do start slurmd -D -N "$node"; done
await 600 bash -c '[ "$(sinfo -h -t idle -o %D)" = 4 ]' || fail "the nodes are not idle: $(sinfo -h 2>&1)"

"$@"
