#!/bin/sh
# As many processes as the machine has GPUs. Where there is no torch, what would be run.
set -eu
set -- torchrun --standalone "--nproc-per-node=$RUNNER_GPU_COUNT" train.py
if command -v torchrun >/dev/null; then
    exec "$@"
fi
echo "dry: $*"
