#!/usr/bin/env bash
# Train with several processes, one per GPU, or on a machine without CUDA through gloo.
#   tools/dist_train.sh CONFIG PROCESSES [options of train.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT as in MMDetection.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG PROCESSES [options of train.py]" >&2
    exit 2
fi
"$(dirname "$0")/launch.sh" "$2" "$(dirname "$0")/train.py" "$1" "${@:3}"
