#!/usr/bin/env bash
# Hosts for tests: network namespaces of this machine, joined by a bridge. Needs root and iproute2; where they cannot be
# made, exit code 77 with the reason.
#   hosts.sh up N PREFIX            makes N hosts and prints "GROUP SUBNET HOST...": "mn7 10.99.7.0/24 mn7-1 mn7-2"
#   hosts.sh down GROUP             removes them, and ends what still runs in them
#   hosts.sh with N PREFIX COMMAND  up, then COMMAND with the printed line in COHORT_TEST_HOSTS, then down
#   hosts.sh cut HOST               pulls the host's cable
#   hosts.sh mend HOST              puts it back
#   hosts.sh slow HOST RATE         lets no more than RATE, such as 10mbit, through to the host
#   hosts.sh ping HOST              whether the host answers within a second
#   hosts.sh run HOST COMMAND       runs COMMAND there, under that host's name
# GROUP, the name of the bridge, is PREFIX with the first number that nobody uses, so that two runs do not meet. PREFIX
# has at most 6 characters: interface names end at 15. The number is the third byte of the addresses, too; this machine
# has .254 and host i has .i.
set -euo pipefail

skip() {
  echo "skipped: $*"
  exit 77
}

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

check_ability() {
  [ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
  command -v ip >/dev/null || skip "iproute2 is not installed"
  local probe=cohort-probe-$$
  ip netns add "$probe" 2>/dev/null || skip "network namespaces cannot be made here (ip netns add fails)"
  ip netns del "$probe"
}

# Names a bridge, which only one caller can do, and so its subnet.
claim_group() {
  local prefix=$1 number
  for number in $(seq 1 250); do
    # Another run may have the number under another prefix.
    [ -z "$(ip -o -4 addr show to "10.99.$number.0/24")" ] || continue
    ip link add "$prefix$number" type bridge 2>/dev/null || continue
    if ip addr add "10.99.$number.254/24" dev "$prefix$number" && ip link set "$prefix$number" up; then
      echo "$number"
      return
    fi
    ip link del "$prefix$number"
  done
  skip "no bridge can be made here (ip link add fails)"
}

# A refusal comes back from a host that is there; a firewall between the ports of a bridge is silent.
reaches() {
  local from=(ip netns exec "$1") answer
  [ "$1" != - ] || from=()
  answer=$(LC_ALL=C timeout 1 "${from[@]}" bash -c ": <>/dev/tcp/$2/9" 2>&1 || true)
  [[ $answer = *refused* ]]
}

# A busy machine may take more than a second to answer.
comes_to_reach() {
  local i
  for i in {1..5}; do ! reaches "$@" || return 0; done
  return 1
}

up() {
  local num_hosts=$1 prefix=$2 number group i host
  check_ability
  number=$(claim_group "$prefix") || { echo "$number" >&2; exit 77; }
  group=$prefix$number
  trap 'down "$group" >/dev/null 2>&1' ERR
  for i in $(seq 1 "$num_hosts"); do
    host=$group-$i
    ip netns add "$host"
    ip link add "$host" type veth peer name eth0 netns "$host"
    ip link set "$host" master "$group" up
    ip -n "$host" addr add "10.99.$number.$i/24" dev eth0
    ip -n "$host" link set eth0 up
    ip -n "$host" link set lo up
  done
  if ! comes_to_reach - "10.99.$number.1" ||
     { [ "$num_hosts" -gt 1 ] && ! comes_to_reach "$group-1" "10.99.$number.2"; }; then
    down "$group"
    skip "hosts of a bridge do not reach each other here (a firewall?)"
  fi
  trap - ERR
  echo "$group 10.99.$number.0/24 $(seq -s ' ' -f "$group-%g" 1 "$num_hosts")"
}

down() {
  local group=$1 host pids
  for host in $(ip netns list | awk -v group="$group-" 'index($1, group) == 1 { print $1 }'); do
    pids=$(ip netns pids "$host")
    # shellcheck disable=SC2086  # one word a process
    [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
    ip link del "$host" 2>/dev/null || true
    ip netns del "$host"
  done
  ip link del "$group"
}

with() {
  local num_hosts=$1 prefix=$2 line
  shift 2
  line=$(up "$num_hosts" "$prefix") || { local code=$?; echo "$line"; exit "$code"; }
  # shellcheck disable=SC2064  # the group of now
  trap "down '${line%% *}'" EXIT
  trap 'exit 143' TERM INT HUP
  COHORT_TEST_HOSTS=$line "$@"
}

command=${1-}
[ $# -eq 0 ] || shift
case $command:$# in
  up:2) [ "${#2}" -le 6 ] || usage; up "$@" ;;
  down:1) down "$1" ;;
  cut:1) ip link set "$1" down ;;
  mend:1) ip link set "$1" up ;;
  ping:1) reaches - "$(ip -n "$1" -o -4 addr show eth0 | sed 's|.* inet \([0-9.]*\)/.*|\1|')" ;;
  slow:2) tc qdisc replace dev "$1" root tbf rate "$2" burst 32kb latency 400ms ;;
  with:[012] | run:[01]) usage ;;
  with:*) [ "${#2}" -le 6 ] || usage; with "$@" ;;
  run:*) host=$1
         shift
         exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0" && exec "$@"' "$host" "$@" ;;
  *) usage ;;
esac
