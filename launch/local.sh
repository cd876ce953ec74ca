#!/usr/bin/env bash
# Trains one run on this machine with N processes.
#
#     launch/local.sh N CONFIG [other arguments of `jaxvision train`...]
#     launch/local.sh 2 configs/cnn.py --config.seed=1
#     DEVICES=2 launch/local.sh 2 configs/cnn.py       # 2 processes of 2 virtual CPU devices each
#
# Settings, as environment variables:
#   PYTHON    the interpreter, with jaxvision installed. Default: .venv/bin/python of this checkout
#             if it exists, else python3.
#   DEVICES   virtual CPU devices per process, to test a layout. Default: the machine's devices. On
#             a machine with GPUs, this setting trains on the CPUs.
#   RESTARTS  how often a preempted run is started again. Default: 5.
#   GRACE     seconds that the other workers get to exit after one has failed. Default: 20. They
#             need 10 to notice the failure. A save at this moment is lost, because it needs all
#             workers.
#
# On NVIDIA GPUs, each process gets an equal number of GPUs. N should divide the number of GPUs: the
# remainder stays idle. On CPUs, all processes share the same cores, which is good for tests only.
#
# SIGTERM or Ctrl-C stops all workers after a save. A signal to one worker stops all workers, and
# the script starts them again.
#
# Exit codes:
#   0      finished
#   75     stopped by a signal, after everything was saved; repeat the command to resume
#   2      a mistake in the arguments, the config or the data
#   other  the code of the worker that failed first
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

# Prints the ids of the usable GPUs, one on each line.
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
  # The number of XLA's threads. Devices block threads while they wait for each other, so XLA needs
  # more threads than devices.
  export NPROC=$((4 * DEVICES > 16 ? 4 * DEVICES : 16))
elif [[ ${JAX_PLATFORMS:-} != cpu ]]; then
  mapfile -t devices < <(gpus)
fi
share=$((${#devices[@]} / processes))
if ((${#devices[@]} > 0 && share == 0)); then
  say "N=$processes: expected at most ${#devices[@]} processes, one for each GPU. Give a smaller N."
  exit "$MISTAKE"
fi

# Prints a free port below 32768. The system uses higher ports for outgoing connections.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12768))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# Opens a pipe that prefixes each line with the worker's number and writes it to file descriptor $2.
# The pipe ignores the signals that end the workers, so that their last lines arrive.
prefixed() {
  exec {pipe}> >(trap '' INT TERM HUP; exec sed -u "s/^/[worker $1] /" >&"$2")
  prefixers+=("$!")
}

start_workers() {
  local i port pipe out err visible=()
  port=$(free_port)
  pids=() codes=() prefixers=() failed='' deadline=''
  for ((i = 0; i < processes; i++)); do
    if ((share > 0)); then
      visible=(CUDA_VISIBLE_DEVICES="$(IFS=,; echo "${devices[*]:i * share:share}")")
    fi
    out=1 err=2
    if ((i > 0)); then
      prefixed "$i" 1; out=$pipe
      prefixed "$i" 2; err=$pipe
    fi
    # Inside a Slurm job, JAX would give the first GPU to every process.
    env -u SLURM_JOB_ID ${visible[@]+"${visible[@]}"} \
      "$PYTHON" -m jaxvision.main "${arguments[@]}" \
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

# Stores the exit code of every worker that has ended. Succeeds while some workers run.
some_run() {
  local i running=1
  for i in "${!pids[@]}"; do
    [[ -z ${codes[i]:-} ]] || continue
    if kill -0 "${pids[i]}" 2>/dev/null; then running=0; continue; fi
    wait "${pids[i]}" 2>/dev/null
    codes[i]=$?
    # A worker that SIGTERM ended before its start had nothing to save.
    [[ -z $stopping ]] || ((codes[i] != 128 + 15)) || codes[i]=$STOPPED
    ended "$i" "${codes[i]}"
  done
  return "$running"
}

ended() {
  (($2 != 0 && $2 != STOPPED)) || return
  say "worker $1 failed with code $2"
  failed=${failed:-$2}
  # The other workers fail as a result of a mistake, so its code is the one to report.
  (($2 == MISTAKE)) && failed=$MISTAKE
  deadline=${deadline:-$((SECONDS + GRACE))}
}

wait_for_workers() {
  while some_run; do
    if [[ -n $deadline ]] && ((SECONDS >= deadline)); then
      say "killing the workers that still run after GRACE=$GRACE s"
      signal_workers KILL
      deadline=''
    fi
    sleep 0.2
  done
  # Wait for the last lines, but at most 1 s: a child of a worker may keep the pipe open.
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
  [[ -z $stopping ]] || signal_workers TERM  # the signal came while they started
  wait_for_workers
  [[ -z $failed ]] || exit "$failed"
  [[ " ${codes[*]} " == *" $STOPPED "* ]] || exit 0
  [[ -z $stopping ]] || exit "$STOPPED"
  if ((restart >= RESTARTS)); then
    say "stopped again after RESTARTS=$RESTARTS restarts, all saved. Repeat the command to resume."
    exit "$STOPPED"
  fi
  say "a signal stopped a worker, all have saved; starting again ($((restart + 1)) of $RESTARTS)"
done
