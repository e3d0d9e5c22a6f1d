#!/bin/bash
# Serves the model in local_test/test_dir/model until Ctrl-C: [PORT=8080] serve_local.sh IMAGE [docker run option...]
set -euo pipefail

if [[ $# -eq 0 ]]; then
    echo "usage: [PORT=8080] serve_local.sh IMAGE [docker run option...]" >&2
    exit 2
fi
image=$1
shift
port=${PORT:-8080}
model=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/test_dir/model
if [[ ! -d $model || -z $(ls -A "$model") ]]; then
    echo "serve_local.sh: $model holds no model; train one with: local_test/train_local.sh $image" >&2
    exit 2
fi

echo "serve_local.sh: http://localhost:$port, ask it with: PORT=$port local_test/predict.sh PHOTO" >&2
exec "${DOCKER:-docker}" run --rm --user "$(id -u):$(id -g)" --publish "127.0.0.1:$port:8080" \
    --mount "type=bind,source=$model,target=/opt/ml/model,readonly" "$@" "$image" serve
