#!/bin/sh
# redis-server as the official image starts it: options or a config file alone are enough, root becomes `redis`.
set -eu

case ${1:-} in
    -* | *.conf) set -- redis-server "$@" ;;
esac

if [ "$1" = redis-server ]; then
    if [ "$(id -u)" = 0 ]; then
        find . ! -user redis -exec chown redis {} +
        exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
    fi
    umask 0077
    # The official server is built with protected mode off; a config file or an option still has the last word.
    shift
    case ${1:-} in
        '' | -*) set -- --protected-mode no "$@" ;;
        *) grep -Eqi '^\s*protected-mode' "$1" || { config=$1; shift; set -- "$config" --protected-mode no "$@"; } ;;
    esac
    set -- redis-server "$@"
fi

exec "$@"
