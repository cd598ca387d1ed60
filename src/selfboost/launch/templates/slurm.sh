#!/bin/bash
#SBATCH --job-name=@NAME@
#SBATCH --nodes=@NODES@
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=@GPUS@
#SBATCH --time=@HOURS@:00:00
#SBATCH --output=@NAME@-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@300

# Submit:  sbatch @FILE@
# A preempted job, one that reaches its time limit and one that loses a node are requeued, and the same command resumes:
# finished stages are reused, a stage continues after its last record, a training after its last saved state.
# The run's folder and the recipe must be on a disk that all nodes see under the same path.
# Add your partition, account and environment:
#   #SBATCH --partition=... --account=...
#   source /path/to/venv/bin/activate

set -u
python=${PYTHON:-python}
most_restarts=${MOST_RESTARTS:-20}
into=@INTO@
arguments=(@ARGUMENTS@)
nodes=${SLURM_JOB_NUM_NODES:-@NODES@}
first=$(scontrol show hostnames "${SLURM_JOB_NODELIST:-localhost}" | head -n 1)
port=$((20000 + ${SLURM_JOB_ID:-0} % 10000))
mkdir -p -- "$into" || exit 2
@RAY@
if [ "$nodes" -gt 1 ]; then
    command=("$python" -m torch.distributed.run --nnodes "$nodes" --nproc-per-node @GPUS@ --rdzv-backend c10d
        --rdzv-endpoint "$first:$port" --rdzv-id "${SLURM_JOB_ID:-0}" -m selfboost "${arguments[@]}")
else
    command=("$python" -m selfboost "${arguments[@]}")
fi

stopped=
step=
stop() {
    stopped=1
    [ -n "$step" ] && kill -TERM "$step" 2>/dev/null
}
trap stop TERM INT
srun --kill-on-bad-exit=1 "${command[@]}" &
step=$!
[ -n "$stopped" ] && kill -TERM "$step" 2>/dev/null
code=0
while :; do  # a signal ends a wait before the step is over
    wait "$step"
    code=$?
    kill -0 "$step" 2>/dev/null || break
done

# 0: done. 2: something in the recipe or its files that you can fix: running it again would not help.
if [ "$code" -eq 0 ] || [ "$code" -eq 2 ]; then
    exit "$code"
fi
if [ "${SLURM_RESTART_COUNT:-0}" -ge "$most_restarts" ]; then
    echo "stopped after $most_restarts restarts; submit it again to resume" >&2
    exit "$code"
fi
echo "requeued (exit code $code${stopped:+, after a signal})" >&2
scontrol requeue "${SLURM_JOB_ID:-0}" || exit "$code"
