#!/usr/bin/env bash
# Test with several processes, one per GPU, or on a machine without CUDA through gloo.
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of test.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT as in MMDetection.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT PROCESSES [options of test.py]" >&2
    exit 2
fi
"$(dirname "$0")/launch.sh" "$3" "$(dirname "$0")/test.py" "$1" "$2" "${@:4}"
