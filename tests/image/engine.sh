#!/bin/bash
# A Docker engine for the image tests, where none runs yet: engine.sh start | stop | run COMMAND [ARGUMENT...]
#   start   start dockerd when `docker info` fails, and make the base image when it is missing
#   stop    stop the dockerd that `start` started, and no other
#   run     start, run the command, stop what this call started; exits with the command's code
set -euo pipefail

readonly BASE_IMAGE=debian:bookworm-slim
readonly STATE=/run/kennel-test-engine
readonly START_SECONDS=60 STOP_SECONDS=60
started=no

die() {
    echo "engine.sh: $*" >&2
    exit 1
}

# A client can be too new to build without its buildx plug-in; the engine's own package brings one that can.
choose_client() {
    if ! DOCKER_BUILDKIT=1 docker build --help >/dev/null 2>&1; then
        PATH=/usr/bin:$PATH
        export PATH
    fi
    command -v docker >/dev/null || die "no docker command; install it (Debian: apt-get install docker.io)"
}

is_running() {
    docker info >/dev/null 2>&1
}

start_dockerd() {
    command -v dockerd >/dev/null || die "no engine runs and dockerd is missing (Debian: apt-get install docker.io iptables)"
    [[ $(id -u) -eq 0 ]] || die "no engine runs that this user may use; start Docker, or run this as root"
    mkdir -p "$STATE"
    echo "engine.sh: starting dockerd (log: $STATE/log)" >&2
    started=yes
    setsid dockerd --pidfile "$STATE/pid" >"$STATE/log" 2>&1 </dev/null &
    for ((second = 0; second < START_SECONDS; second++)); do
        if is_running; then
            return
        fi
        kill -0 $! 2>/dev/null || die "dockerd ended: $(tail -n 5 "$STATE/log")"
        sleep 1
    done
    stop_dockerd
    die "dockerd did not answer within $START_SECONDS s: $(tail -n 5 "$STATE/log")"
}

stop_started() {
    if [[ $started == yes ]]; then
        stop_dockerd
    fi
}

stop_dockerd() {
    [[ -s $STATE/pid ]] || return 0
    local pid
    pid=$(<"$STATE/pid")
    kill "$pid" 2>/dev/null || true
    for ((second = 0; second < STOP_SECONDS; second++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 1
    done
    if kill -0 "$pid" 2>/dev/null; then
        die "dockerd (process $pid) did not end within $STOP_SECONDS s"
    fi
    rm -rf "$STATE"
}

# The base is made from Debian's packages; where that cannot be done, `docker build` pulls it.
make_base() {
    if docker image inspect "$BASE_IMAGE" >/dev/null 2>&1; then
        return
    fi
    if [[ $(id -u) -ne 0 ]] || ! command -v debootstrap >/dev/null; then
        echo "engine.sh: $BASE_IMAGE is left to be pulled (to make it: root and Debian's debootstrap)" >&2
        return
    fi
    local root
    root=$(mktemp -d)
    echo "engine.sh: making $BASE_IMAGE" >&2
    debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || die "debootstrap failed: $(tail -n 5 "$root.log")"
    tar -C "$root" --create . | docker import - "$BASE_IMAGE" >/dev/null
    rm -rf "$root" "$root.log"
}

start() {
    choose_client
    is_running || start_dockerd
    make_base
}

case "${1:-}" in
    start) start ;;
    stop) stop_dockerd ;;
    run)
        shift
        [[ $# -gt 0 ]] || die "run: no command given"
        trap stop_started EXIT
        trap 'exit 143' TERM
        trap 'exit 130' INT
        start
        "$@"
        ;;
    *) die "usage: engine.sh start | stop | run COMMAND [ARGUMENT...]" ;;
esac
