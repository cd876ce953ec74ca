#!/usr/bin/env bash
# Trains on a Cloud TPU slice: the same command on every one of its workers.
#
#     NAME=pod ZONE=us-west4-a launch/tpu_pod.sh all configs/cnn.py --workdir /mnt/runs/cnn
#     NAME=pod ZONE=us-west4-a launch/tpu_pod.sh [--dry_run] STEP
#
# Steps: create    creates the slice, or takes the one of this name that is there
#        install   puts the code at REF and its packages on every worker; mounts BUCKET
#        start CONFIG [main's other arguments...]   starts the run in the background of every worker
#        log       follows worker 0's output; Ctrl-C ends the following, not the run
#        stop      tells every worker to save and stop, and waits for it
#        delete    deletes the slice
#        all CONFIG [...]   create, install, start, log
# --dry_run prints the commands, ready to paste, and runs none.
#
# To fill in, as environment variables:
#   NAME, ZONE  of the slice; `gcloud compute tpus locations list` shows the zones. No default.
#   TYPE        default v5litepod-16: 16 v5e chips on 4 workers. It is paid from create to delete,
#               by the chip and the second, used or not: `delete` when the run has ended.
#   VERSION     the workers' software; default v2-alpha-tpuv5-lite, which goes with v5e. Another
#               TYPE with this one gives a slice whose chips are not found.
#   PROJECT     default: gcloud's own.
#   SPOT        1: cheaper, and may be taken away at any time; `all` again makes a new one and goes
#               on.
#   REPO, REF   what to install; default: this checkout's origin and its commit. Both must be
#               readable from the workers: push first. What is not committed does not get there.
#   PYTHON      version of Python for the workers; default 3.12.
#   BUCKET      a Cloud Storage bucket that install mounts at /mnt/runs on every worker.
#
# The run's folder (--workdir) must be on storage that all workers see; a worker's own disk gives
# checkpoints of which each worker has a part, and nothing that can be resumed. BUCKET is one such
# storage (Filestore over NFS is another; mount it yourself). Make it once, in the slice's region,
# with
#     gcloud storage buckets create gs://BUCKET --location=REGION \
#         --uniform-bucket-level-access --enable-hierarchical-namespace
# (without the hierarchical namespace a folder is renamed object by object: a worker that dies in
# the middle of a save may leave half of it). --config.data.dir goes there too, or is on every
# worker's disk.
#
# On every worker run.pid and run.log are in ~/jaxvision. A run that stops with 75 (one worker was
# told to stop, all have saved) is started again there; any other end is final: look at the log,
# then `start`.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dry_run=''

fail() { echo "tpu_pod.sh: $*" >&2; exit 2; }

run() {
  if [[ -n $dry_run ]]; then
    printf '%q ' "$@" | sed 's/ $//'
    echo
  else
    "$@"
  fi
}

# tpu VERB [arguments...]: a gcloud command on this slice.
tpu() {
  run gcloud compute tpus tpu-vm "$1" "$NAME" --zone="$ZONE" \
    ${PROJECT:+"--project=$PROJECT"} "${@:2}"
}

on_workers() { tpu ssh --worker="$1" --command="$2"; }

create() {
  local state=''
  if [[ -n $dry_run ]]; then
    tpu describe --format='value(state)'
    echo '# Where there is none of this name:'
  else
    state=$(tpu describe --format='value(state)' 2>/dev/null) || true
  fi
  case $state in
    READY) echo "$NAME is there"; return ;;
    '') ;;
    PREEMPTED | TERMINATED) delete ;;
    *) fail "$NAME is $state; wait until it is READY, or delete it" ;;
  esac
  tpu create --accelerator-type="${TYPE:-v5litepod-16}" \
    --version="${VERSION:-v2-alpha-tpuv5-lite}" ${SPOT:+--spot}
}

install() {
  local repo=${REPO:-} ref=${REF:-}
  [[ -n $repo ]] || repo=$(git -C "$checkout" remote get-url origin 2>/dev/null) ||
    fail 'this checkout has no origin: set REPO to a URL that the workers can clone'
  [[ -n $ref ]] || ref=$(git -C "$checkout" rev-parse HEAD)
  on_workers all "set -e
[ -d jaxvision ] || git clone $(printf '%q' "$repo") jaxvision
cd jaxvision
git fetch origin $(printf '%q' "$ref")
git checkout --detach FETCH_HEAD
python3 -m pip install --user --quiet uv
[ -d .venv ] || ~/.local/bin/uv venv --python $(printf '%q' "${PYTHON:-3.12}") .venv
~/.local/bin/uv pip install --python .venv/bin/python -e '.[tpu]'"
  if [[ -n ${BUCKET:-} ]]; then mount_bucket; fi
}

# rename-dir-limit: gcsfuse refuses to rename a folder with files in it otherwise, and a checkpoint
# is finished by such a rename. ttl 0: what one worker has written the others see at once.
mount_bucket() {
  on_workers all "set -e
if ! command -v gcsfuse >/dev/null; then
  key=/usr/share/keyrings/cloud.google.asc
  apt=https://packages.cloud.google.com/apt
  curl -fsS \$apt/doc/apt-key.gpg | sudo tee \$key >/dev/null
  echo \"deb [signed-by=\$key] \$apt gcsfuse-\$(lsb_release -cs) main\" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get -q update
  sudo apt-get -q install -y gcsfuse
fi
if ! mountpoint -q /mnt/runs; then
  sudo mkdir -p /mnt/runs
  sudo chown \"\$(id -u)\" /mnt/runs
  gcsfuse --implicit-dirs --rename-dir-limit=100000 --metadata-cache-ttl-secs=0 \
    $(printf '%q' "$BUCKET") /mnt/runs
fi"
}

start() {
  [[ $# -ge 1 && $1 != -* ]] || fail 'give a CONFIG, as in: start configs/cnn.py --workdir FOLDER'
  [[ " $*" == *' --workdir'[\ =]* ]] ||
    fail 'give --workdir FOLDER on storage that all workers see (BUCKET is mounted at /mnt/runs)'
  on_workers all "cd jaxvision || exit
if [ -e run.pid ] && kill -0 \"\$(cat run.pid)\" 2>/dev/null; then
  echo 'a run is going on: stop it first' >&2
  exit 2
fi
setsid nohup launch/restart.sh .venv/bin/python -m jaxvision.main --config $(printf '%q ' "$@")\
--distributed </dev/null >run.log 2>&1 &
echo \$! >run.pid"
}

log() {
  on_workers 0 "cd jaxvision && tail --pid=\"\$(cat run.pid)\" -n +1 -F run.log"
}

stop() {
  on_workers all "cd jaxvision && [ -e run.pid ] || exit 0
kill -TERM \"\$(cat run.pid)\" 2>/dev/null
while kill -0 \"\$(cat run.pid)\" 2>/dev/null; do sleep 1; done"
}

delete() { tpu delete --quiet; }

[[ ${1:-} != --dry_run ]] || { dry_run=yes; shift; }
step=${1:-}
case $step in
  create | install | log | stop | delete) [[ $# -eq 1 ]] || fail "$step takes no arguments" ;;
  start | all) ;;
  *) fail "which step? create, install, start CONFIG, log, stop, delete, or all CONFIG" ;;
esac
[[ -n ${NAME:-} && -n ${ZONE:-} ]] || fail 'set NAME and ZONE, the name and the zone of the slice'
shift
if [[ $step == all ]]; then
  create
  install
  start "$@"
  log
else
  "$step" "$@"
fi
