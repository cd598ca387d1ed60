#!/bin/bash
# Run:  RAY_ADDRESS=http://HEAD:8265 bash @FILE@
# Submits the run to a Ray cluster, and submits it again when it is lost: the same command resumes, finished stages are
# reused, a stage continues after its last record, a training after its last saved state.
# Sampling and scoring run on all of @NODES@ machines with @GPUS@ GPUs each; a training runs on the GPUs of the machine
# that the job's driver is on. The run's folder and the recipe must be on a disk that all of them see under the same path.

set -u
: "${RAY_ADDRESS:?set it to the address of the cluster, such as http://HEAD:8265}"
most_restarts=${MOST_RESTARTS:-20}
arguments=(@ARGUMENTS@)

restarts=0
while :; do
    ray job submit --submission-id "@NAME@-$(date +%s)-$restarts" -- python -m selfboost "${arguments[@]}"
    code=$?
    if [ "$code" -eq 0 ]; then
        exit 0
    fi
    restarts=$((restarts + 1))
    if [ "$restarts" -gt "$most_restarts" ]; then
        echo "stopped after $most_restarts restarts; run it again to resume" >&2
        exit "$code"
    fi
    echo "submitted again (exit code $code)" >&2
    sleep "${PAUSE:-30}"
done
