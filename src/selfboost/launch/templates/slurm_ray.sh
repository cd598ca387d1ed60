
# Ray on all nodes, for sampling and scoring; it ends with the job.
address=$first:6379
srun --nodes=1 --ntasks=1 -w "$first" --overlap --gpus-per-node=@GPUS@ \
    "$python" -m ray.scripts.scripts start --head --port=6379 --num-gpus=@GPUS@ --block &
sleep 15
if [ "$nodes" -gt 1 ]; then
    srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude "$first" --overlap --gpus-per-node=@GPUS@ \
        "$python" -m ray.scripts.scripts start --address="$address" --num-gpus=@GPUS@ --block &
    sleep 15
fi
arguments+=(--set cluster.kind=ray --set "cluster.address=$address")
