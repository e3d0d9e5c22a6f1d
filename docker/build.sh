#!/bin/bash
# Builds the image for linux/amd64: docker/build.sh IMAGE [docker build option...]
# Behind a proxy that signs TLS itself, PIP_CERT names the file of its certificate: a secret of the build, never in a layer.
set -euo pipefail

image=${1:?usage: docker/build.sh IMAGE [docker build option...]}
shift
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

secret=()
if [[ -n ${PIP_CERT:-} ]]; then
    secret=(--secret "id=pip_cert,src=$PIP_CERT")
fi
# Without attestations an image is one manifest, which is what SageMaker takes.
export DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1
exec "${DOCKER:-docker}" build --platform linux/amd64 ${secret[@]+"${secret[@]}"} \
    --file "$root/docker/Dockerfile" --tag "$image" "$@" "$root"
