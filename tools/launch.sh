#!/usr/bin/env bash
# Start PROCESSES copies of a tool: tools/launch.sh PROCESSES TOOL [arguments]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
python=$("$root/tools/which_python.sh")
if [ "${NNODES:-1}" -gt 1 ] || [ -n "${PORT:-}" ]; then
    rendezvous=(
        --nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}"
        --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}"
    )
else
    rendezvous=(--standalone) # a free port, so that several runs fit on one machine
fi
# PyTorch would say at length that it sets this.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$python" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node "$1" \
    "$2" "${@:3}" --launcher pytorch
