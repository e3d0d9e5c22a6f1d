#!/bin/bash
# Trains in the image on local_test/test_dir, as SageMaker would: train_local.sh IMAGE [docker run option...]
# For example: train_local.sh kennel:local --gpus all
set -euo pipefail

if [[ $# -eq 0 ]]; then
    echo "usage: train_local.sh IMAGE [docker run option...]" >&2
    exit 2
fi
image=$1
shift
test_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/test_dir
if [[ ! -d $test_dir/input ]]; then
    echo "train_local.sh: $test_dir/input is not there; make it with: python local_test/make_test_dir.py" >&2
    exit 2
fi

rm -rf "$test_dir/model" "$test_dir/output"
mkdir -p "$test_dir/model" "$test_dir/output"
exec "${DOCKER:-docker}" run --rm --user "$(id -u):$(id -g)" --shm-size 1g \
    --mount "type=bind,source=$test_dir,target=/opt/ml" "$@" "$image" train
