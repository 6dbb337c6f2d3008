#!/bin/sh
# nginx as the official image starts it, scripts in /docker-entrypoint.d first; templates need the official image.
set -eu

case ${1:-} in
    nginx | nginx-debug)
        if [ -d /etc/nginx/templates ]; then
            echo "This image does not render /etc/nginx/templates; mount the finished files in /etc/nginx/conf.d." >&2
            exit 1
        fi
        for script in /docker-entrypoint.d/*.sh; do
            [ ! -x "$script" ] || "$script"
        done
        ;;
esac

exec "$@"
