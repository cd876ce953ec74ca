#!/usr/bin/env bash
# Trains on this machine with N processes: one run, the same command otherwise.
#
#     launch/local.sh N CONFIG [main's other arguments...]
#     launch/local.sh 2 configs/cnn.py --config.seed=1
#     DEVICES=2 launch/local.sh 2 configs/cnn.py       # 2 processes of 2 virtual CPU devices each
#
# To fill in, as environment variables:
#   PYTHON    the interpreter; default: .venv/bin/python of this checkout if it is there, else
#             python3. Wrong: workers that cannot import jaxvision, so nothing starts.
#   DEVICES   virtual CPU devices a process, for trying a layout out; default: the machine's
#             devices. Left set on a machine with GPUs, it trains on the CPUs.
#   RESTARTS  how often a preempted run is started again; default 5.
#   GRACE     seconds that the others get to end after a worker has failed; default 20, of which they
#             need 10 to notice. What they were saving is lost either way: all take part in a save.
#
# N: on NVIDIA GPUs each process gets an equal share of them, so N should divide their number (the
# remainder stays idle). On CPUs all of them share the same cores: it is for trying a launch out.
#
# Exit codes: 0 finished; 75 stopped by a signal, everything saved, give the same command again; 2 a
# mistake to mend; else the code of the worker that failed first. SIGTERM or Ctrl-C stops all
# workers, which save. A worker that alone was told to stop stops all, and they are started again.
set -uo pipefail

readonly STOPPED=75 MISTAKE=2

usage() {
  echo 'usage: launch/local.sh N CONFIG [arguments...]    (N: number of processes, 1 or more)' >&2
  exit "$MISTAKE"
}

[[ $# -ge 2 && $1 =~ ^[1-9][0-9]*$ && $2 != -* ]] || usage
processes=$1
arguments=(--config "${@:2}")
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -z ${PYTHON:-} ]]; then
  PYTHON=$checkout/.venv/bin/python
  [[ -x $PYTHON ]] || PYTHON=python3
fi
RESTARTS=${RESTARTS:-5}
GRACE=${GRACE:-20}

say() { echo "[local.sh] $*" >&2; }

# The ids of the GPUs that may be used, one a line; none where there are none.
gpus() {
  if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
    tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep . || true
  else
    nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true
  fi
}

devices=()
if [[ -n ${DEVICES:-} ]]; then
  export JAX_PLATFORMS=cpu
  export XLA_FLAGS="${XLA_FLAGS:+$XLA_FLAGS }--xla_force_host_platform_device_count=$DEVICES"
  # XLA's threads: the devices wait for each other inside theirs, and a few must be left to work.
  export NPROC=$((4 * DEVICES > 16 ? 4 * DEVICES : 16))
elif [[ ${JAX_PLATFORMS:-} != cpu ]]; then
  mapfile -t devices < <(gpus)
fi
share=$((${#devices[@]} / processes))
if ((${#devices[@]} > 0 && share == 0)); then
  say "$processes processes for ${#devices[@]} GPUs: give at most one process a GPU"
  exit "$MISTAKE"
fi

# Below the range from which the system gives ports to outgoing connections (32768 and up).
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12768))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# Opens a pipe that writes each line with the worker's name to where file descriptor $2 goes. It
# must outlive the signals that end the workers, whose last words it carries.
prefixed() {
  exec {pipe}> >(trap '' INT TERM HUP; exec sed -u "s/^/[worker $1] /" >&"$2")
  prefixers+=("$!")
}

start_workers() {
  local i port pipe out err own=()
  port=$(free_port)
  pids=() codes=() prefixers=() failed='' deadline=''
  for ((i = 0; i < processes; i++)); do
    ((share == 0)) || own=(CUDA_VISIBLE_DEVICES="$(IFS=,; echo "${devices[*]:i * share:share}")")
    out=1 err=2
    if ((i > 0)); then
      prefixed "$i" 1; out=$pipe
      prefixed "$i" 2; err=$pipe
    fi
    # Within a Slurm job JAX would give every process the same first GPU.
    env -u SLURM_JOB_ID ${own[@]+"${own[@]}"} "$PYTHON" -m jaxvision.main "${arguments[@]}" \
      --coordinator "127.0.0.1:$port" --num_processes "$processes" --process_id "$i" \
      </dev/null 1>&"$out" 2>&"$err" &
    pids[i]=$!
    if ((i > 0)); then exec {out}>&- {err}>&-; fi
  done
}

signal_workers() {
  local i
  for i in "${!pids[@]}"; do
    [[ -n ${codes[i]:-} ]] || kill "-$1" "${pids[i]}" 2>/dev/null
  done
}

# Notes the code of every worker that has ended; true while some have not.
some_run() {
  local i running=1
  for i in "${!pids[@]}"; do
    [[ -z ${codes[i]:-} ]] || continue
    if kill -0 "${pids[i]}" 2>/dev/null; then running=0; continue; fi
    wait "${pids[i]}" 2>/dev/null
    codes[i]=$?
    # Stopped before it had begun, so there was nothing to save.
    [[ -z $stopping ]] || ((codes[i] != 128 + 15)) || codes[i]=$STOPPED
    ended "$i" "${codes[i]}"
  done
  return "$running"
}

ended() {
  (($2 != 0 && $2 != STOPPED)) || return
  say "worker $1 failed with code $2"
  failed=${failed:-$2}
  (($2 == MISTAKE)) && failed=$MISTAKE  # the others fail because this one is gone: tell the cause
  deadline=${deadline:-$((SECONDS + GRACE))}
}

wait_for_workers() {
  while some_run; do
    if [[ -n $deadline ]] && ((SECONDS >= deadline)); then
      say "killing the workers that still run $GRACE s later"
      signal_workers KILL
      deadline=''
    fi
    sleep 0.2
  done
  # The last lines; not for ever, because a worker's own child may hold the pipe open.
  for _ in {1..10}; do
    kill -0 ${prefixers[@]+"${prefixers[@]}"} 2>/dev/null || break
    sleep 0.1
  done
}

stopping=''
stop() {
  stopping=yes
  signal_workers TERM
}
trap stop TERM INT HUP

for ((restart = 0; ; restart++)); do
  [[ -z $stopping ]] || exit "$STOPPED"
  start_workers
  [[ -z $stopping ]] || signal_workers TERM  # it may have come before all of them were there
  wait_for_workers
  [[ -z $failed ]] || exit "$failed"
  [[ " ${codes[*]} " == *" $STOPPED "* ]] || exit 0
  [[ -z $stopping ]] || exit "$STOPPED"
  if ((restart >= RESTARTS)); then
    say "stopped again after $RESTARTS restarts. To go on, give the same command again"
    exit "$STOPPED"
  fi
  say "a worker was told to stop, all have saved; starting again ($((restart + 1)) of $RESTARTS)"
done
