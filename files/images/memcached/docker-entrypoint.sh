#!/bin/sh
# Options alone are enough: `docker run memcached -m 64`.
set -eu

case ${1:-} in
    -*) set -- memcached "$@" ;;
esac

exec "$@"
