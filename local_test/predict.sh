#!/bin/bash
# Asks a server that serve_local.sh started what is on a photograph: [PORT=8080] predict.sh PHOTO [CONTENT_TYPE]
set -euo pipefail

if [[ $# -lt 1 || $# -gt 2 ]]; then
    echo "usage: [PORT=8080] predict.sh PHOTO [CONTENT_TYPE]" >&2
    exit 2
fi
photo=$1
if [[ ! -f $photo || ! -r $photo ]]; then
    echo "predict.sh: $photo: no such file, or it may not be read" >&2
    exit 2
fi
case ${2:+given}.${photo##*.} in
    given.*) content_type=$2 ;;
    .[jJ][pP][gG] | .[jJ][pP][eE][gG]) content_type=image/jpeg ;;
    .[pP][nN][gG]) content_type=image/png ;;
    .[wW][eE][bB][pP]) content_type=image/webp ;;
    .[bB][mM][pP]) content_type=image/bmp ;;
    *)
        echo "predict.sh: $photo: not named .jpg, .jpeg, .png, .webp or .bmp; give the content type after it" >&2
        exit 2
        ;;
esac

url=http://localhost:${PORT:-8080}/invocations
code=0
curl --silent --show-error --fail-with-body --noproxy localhost --request POST \
    --header "Content-Type: $content_type" --data-binary "@$photo" "$url" || code=$?
case $code in
    0) echo ;;
    7) echo "predict.sh: nothing listens at $url; start local_test/serve_local.sh IMAGE, or set PORT" >&2 ;;
    *) echo >&2 ;;
esac
exit "$code"
