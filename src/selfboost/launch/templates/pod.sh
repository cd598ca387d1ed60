exec python -m torch.distributed.run --nnodes @NODES@ --nproc-per-node @GPUS@ --node-rank "$JOB_COMPLETION_INDEX" --master-addr @NAME@-0.@NAME@ --master-port 29500 -m selfboost "$@"
