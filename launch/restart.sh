#!/usr/bin/env bash
# Repeats a command while its exit code is 75 (stopped by a signal, after everything was saved).
#
#     launch/restart.sh COMMAND...
#
# SIGTERM to this script is passed on to the command. The script then waits for the save and does
# not repeat the command. It has no settings. tpu_pod.sh runs it on every worker.
set -uo pipefail

stopping='' child=''
trap 'stopping=yes; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null' TERM

code=75
while [[ $code -eq 75 && -z $stopping ]]; do
  "$@" &
  child=$!
  [[ -z $stopping ]] || kill -TERM "$child" 2>/dev/null  # the signal came before the child
  # `wait` alone would return early at a signal, with another code than the command's.
  while kill -0 "$child" 2>/dev/null; do sleep 0.2; done
  wait "$child"
  code=$?
  child=''
done
exit "$code"
