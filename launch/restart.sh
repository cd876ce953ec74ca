#!/usr/bin/env bash
# Runs a command, and runs it again as long as it exits with 75 (stopped by a signal, everything
# saved).
#
#     launch/restart.sh COMMAND...
#
# SIGTERM to this script goes on to the command, waits for its save and starts nothing again.
# Nothing to fill in; tpu_pod.sh runs it on every worker.
set -uo pipefail

stopping='' child=''
trap 'stopping=yes; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null' TERM

code=75
while [[ $code -eq 75 && -z $stopping ]]; do
  "$@" &
  child=$!
  [[ -z $stopping ]] || kill -TERM "$child" 2>/dev/null  # it may have come before there was a child
  # Not wait: a signal ends it early, with a code that is not the command's.
  while kill -0 "$child" 2>/dev/null; do sleep 0.2; done
  wait "$child"
  code=$?
  child=''
done
exit "$code"
