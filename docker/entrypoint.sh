#!/bin/sh
# The image's entry point: `train` (the default), `serve` or any other command, exec'd so that it is PID 1 and gets the
# service's signals. Options alone go to `train`, as SageMaker runs a job that sets ContainerArguments only.
set -eu

compat=/usr/local/cuda/compat
driver_file=/proc/driver/nvidia/version

first_version() {
    grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1
}

is_newer() {
    [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$1" ]
}

# torch's CUDA needs a driver of its own line; on an older host the compat libraries stand in. Never on a newer one,
# whose kernel module they would not fit. To go without them: `docker run --entrypoint train` (or `serve`).
if [ -e "$compat/libcuda.so.1" ] && [ -r "$driver_file" ]; then
    compat_version=$(readlink -f "$compat/libcuda.so.1" | sed 's/.*libcuda\.so\.//' | first_version)
    driver_version=$(grep '^NVRM' "$driver_file" | first_version)
    if [ -n "$compat_version" ] && [ -n "$driver_version" ] && is_newer "$compat_version" "$driver_version"; then
        echo "NVIDIA driver $driver_version is older than $compat_version: using $compat" >&2
        export LD_LIBRARY_PATH="$compat${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    fi
fi

case "${1:-train}" in
    train | serve)
        command=/opt/venv/bin/${1:-train}
        if [ $# -gt 0 ]; then shift; fi
        exec "$command" "$@"
        ;;
    -*) exec /opt/venv/bin/train "$@" ;;
    *) exec "$@" ;;
esac
