#!/usr/bin/env bash
# Trains one run on a Cloud TPU slice, with the same command on every worker.
#
#     NAME=pod ZONE=us-west4-a launch/tpu_pod.sh all configs/cnn.py --workdir /mnt/runs/cnn
#     NAME=pod ZONE=us-west4-a launch/tpu_pod.sh [--dry_run] STEP
#
# Steps: create    create the slice, or use an existing one with this name
#        install   install the code at REF and its packages on every worker, and mount BUCKET
#        start CONFIG [other arguments of `jaxvision train`...]
#                  start the run in the background on every worker
#        log       follow the output of worker 0; Ctrl-C ends only the log, not the run
#        stop      let every worker save and stop, and wait for this
#        delete    delete the slice
#        all CONFIG [...]   create, install, start, log
# --dry_run prints the commands, ready to paste, and runs none.
#
# Settings, as environment variables:
#   NAME, ZONE  of the slice. No default. `gcloud compute tpus locations list` shows the zones.
#   TYPE        Default: v5litepod-16, which is 16 v5e chips on 4 workers. The slice costs money for
#               every chip and second from create to delete, used or not. Delete it after the run.
#   VERSION     software of the workers. Default: v2-alpha-tpuv5-lite, which fits v5e. With another
#               TYPE, its chips are not found.
#   PROJECT     Default: the project of gcloud's configuration.
#   SPOT        1: a cheaper slice that may be taken away at any time. Then `all` creates another
#               one and resumes the run.
#   REPO, REF   code to install. Default: this checkout's origin and its commit. The workers must be
#               able to read both, so push first. Uncommitted changes are not installed.
#   PYTHON      version of Python on the workers. Default: 3.12.
#   BUCKET      a Cloud Storage bucket, which `install` mounts at /mnt/runs on every worker.
#
# The run's folder (--workdir) must be on storage that all workers share. On a worker's own disk, a
# checkpoint would be incomplete, and the run could not be resumed. BUCKET is shared storage.
# Filestore over NFS also works, if you mount it. Create the bucket once, in the slice's region:
#     gcloud storage buckets create gs://BUCKET --location=REGION \
#         --uniform-bucket-level-access --enable-hierarchical-namespace
# Without the hierarchical namespace, a folder is renamed object by object, and a worker that dies
# during a save may leave a part of a checkpoint. Datasets (--config.data.dir) are on this storage,
# too, or on the disk of every worker.
#
# Each worker has run.pid and run.log in ~/jaxvision. A run with exit code 75 is started again
# there: a signal stopped a worker, and all workers saved. After any other exit code, read the log
# and give `start` again.
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

# tpu VERB [arguments...] runs a gcloud command on this slice.
tpu() {
  run gcloud compute tpus tpu-vm "$1" "$NAME" --zone="$ZONE" \
    ${PROJECT:+"--project=$PROJECT"} "${@:2}"
}

on_workers() { tpu ssh --worker="$1" --command="$2"; }

create() {
  local state=''
  if [[ -n $dry_run ]]; then
    tpu describe --format='value(state)'
    echo '# If there is no slice with this name:'
  else
    state=$(tpu describe --format='value(state)' 2>/dev/null) || true
  fi
  case $state in
    READY) echo "using the existing slice $NAME"; return ;;
    '') ;;
    PREEMPTED | TERMINATED) delete ;;
    *) fail "NAME=$NAME: expected a slice in state READY, not $state. Wait, or delete it." ;;
  esac
  tpu create --accelerator-type="${TYPE:-v5litepod-16}" \
    --version="${VERSION:-v2-alpha-tpuv5-lite}" ${SPOT:+--spot}
}

install() {
  local repo=${REPO:-} ref=${REF:-}
  [[ -n $repo ]] || repo=$(git -C "$checkout" remote get-url origin 2>/dev/null) ||
    fail 'REPO: expected a URL that the workers can clone. This checkout has no origin: set REPO.'
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

# rename-dir-limit: without it, gcsfuse refuses to rename a folder with files, and such a rename
# finishes a checkpoint. ttl 0: the workers see each other's files at once.
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
  [[ $# -ge 1 && $1 != -* ]] ||
    fail 'CONFIG: expected a config. Give one, as in: start configs/cnn.py --workdir FOLDER'
  [[ " $*" == *' --workdir'[\ =]* ]] ||
    fail '--workdir: expected a folder that all workers share. Give one, such as /mnt/runs/cnn.'
  on_workers all "cd jaxvision || exit
if [ -e run.pid ] && kill -0 \"\$(cat run.pid)\" 2>/dev/null; then
  echo 'a run is active on this worker. Stop it first: tpu_pod.sh stop' >&2
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
  create | install | log | stop | delete) [[ $# -eq 1 ]] || fail "$step: expected no arguments" ;;
  start | all) ;;
  *) fail "STEP=$step: expected create, install, start CONFIG, log, stop, delete or all CONFIG" ;;
esac
[[ -n ${NAME:-} && -n ${ZONE:-} ]] ||
  fail 'NAME and ZONE: expected the name and the zone of the slice. Set both variables.'
shift
if [[ $step == all ]]; then
  create
  install
  start "$@"
  log
else
  "$step" "$@"
fi
