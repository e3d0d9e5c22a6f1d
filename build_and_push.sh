#!/bin/bash
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: build_and_push.sh [option...] NAME [-- docker build option...]

Builds the image for linux/amd64, tags it NAME:REVISION (git's; with -dirty when files differ from it), pushes it to
Amazon ECR and prints the name with digest that a job or model takes. The repository is created when it is missing.

  --no-push             stop after the build; nothing is asked of AWS
  --region REGION       AWS region (else that of the environment or of the aws configuration)
  --registry HOST:PORT  push to any other registry instead of ECR; log in with `docker login` first where it asks for it
  --base-image IMAGE    base image (else the CUDA base that docker/Dockerfile names)
  --weights "NAME..."   networks whose pretrained weights are put into the image
TEXT
}

die() {
    echo "build_and_push.sh: $*" >&2
    exit 1
}

docker=${DOCKER:-docker}
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
name='' region='' registry='' push=yes
build_options=()

read_arguments() {
    while [[ $# -gt 0 ]]; do
        case $1 in
            --help | -h)
                usage
                exit 0
                ;;
            --no-push) push=no ;;
            --region | --registry | --base-image | --weights)
                [[ $# -ge 2 && -n $2 ]] || die "$1: no value given"
                read_option "$1" "$2"
                shift
                ;;
            --)
                shift
                build_options+=("$@")
                break
                ;;
            -*) die "$1: unknown option; see build_and_push.sh --help" ;;
            *)
                [[ -z $name ]] || die "$1: NAME is $name already; give one name"
                name=$1
                ;;
        esac
        shift
    done
    if [[ -z $name ]]; then
        usage >&2
        exit 2
    fi
    [[ $name =~ ^[a-z0-9]+([._/-][a-z0-9]+)*$ ]] || die "$name: not a repository name; use lower case, digits and . _ - /"
}

read_option() {
    case $1 in
        --region) region=$2 ;;
        --registry) registry=$2 ;;
        --base-image) build_options+=(--build-arg "BASE_IMAGE=$2") ;;
        --weights) build_options+=(--build-arg "WEIGHTS=$2") ;;
    esac
}

check_tools() {
    command -v "$docker" >/dev/null || die "no docker command; install Docker"
    "$docker" info >/dev/null 2>&1 || die "docker answers no call; start its engine, or get the right to use it"
    if [[ $push == yes && -z $registry ]]; then
        command -v aws >/dev/null || die "no aws command; install the AWS CLI, or give --no-push or --registry"
    fi
}

git_revision() {
    local revision
    revision=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null) || die "$root: no git revision to tag the image with; commit first"
    if [[ -n $(git -C "$root" status --porcelain) ]]; then
        revision+=-dirty
    fi
    echo "$revision"
}

# Prints the repository's address, such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel.
ecr_repository() {
    local answer
    if answer=$(ecr describe-repositories --repository-names "$name" --query 'repositories[0].repositoryUri' 2>&1); then
        echo "$answer"
    elif [[ $answer == *RepositoryNotFoundException* ]]; then
        echo "build_and_push.sh: creating the repository $name" >&2
        ecr create-repository --repository-name "$name" --query repository.repositoryUri
    else
        die "ECR refused: $answer"
    fi
}

ecr() {
    aws ecr "$@" --region "$region" --output text
}

log_in() {
    region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}}
    [[ -n $region ]] || die "no AWS region; give --region"
    local problem
    problem=$(aws sts get-caller-identity --region "$region" 2>&1 >/dev/null) || die "no valid AWS credentials ($problem); run: aws configure"
    repository=$(ecr_repository)
    ecr get-login-password | "$docker" login --username AWS --password-stdin "${repository%%/*}"
}

pushed_digest() {
    "$docker" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$1" | grep -F "$repository@" ||
        die "docker names no digest of $1; look it up in the registry"
}

main() {
    read_arguments "$@"
    check_tools
    local revision image
    revision=$(git_revision)
    image=$name:$revision
    # What would stop the push is asked for before the build, which takes minutes.
    if [[ $push == yes ]]; then
        if [[ -n $registry ]]; then repository=$registry/$name; else log_in; fi
    fi
    DOCKER=$docker "$root/docker/build.sh" "$image" --build-arg "REVISION=$revision" \
        ${build_options[@]+"${build_options[@]}"}
    echo "built $image"
    if [[ $push == yes ]]; then
        "$docker" tag "$image" "$repository:$revision"
        "$docker" push "$repository:$revision"
        echo "pushed $repository:$revision"
        pushed_digest "$repository:$revision"
    fi
}

main "$@"
