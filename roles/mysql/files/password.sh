#!/usr/bin/env bash
# password.sh STEP USER: `retain` gives USER the new password and lets it keep the old one, `discard` takes the old one away.
# Each may be run again: a run that was cut off goes on from where it was.
set -euo pipefail
umask 077

as() { # as USER SECRET: the options of a client, out of everybody's sight
    local password
    password=$(< "/run/secrets/$2")
    password=${password//\\/\\\\}
    printf '[client]\nhost=mysql\nuser="%s"\npassword="%s"\n' "$1" "${password//\"/\\\"}" > "/tmp/$2.cnf"
    echo "--defaults-extra-file=/tmp/$2.cnf"
}

quoted() { # a string literal
    local text
    text=$(< "/run/secrets/$1")
    text=${text//\\/\\\\}
    printf "'%s'" "${text//\'/\\\'}"
}

account="'$2'@'%'"
case $1 in
    retain)
        if mysql "$(as "$2" mysql_password)" --execute='SELECT 1' &> /dev/null; then exit; fi
        # The old one first, whatever a run that was cut off has left: it is what the site uses.
        echo "ALTER USER $account IDENTIFIED BY $(quoted mysql_old_password);"
        echo "ALTER USER $account IDENTIFIED BY $(quoted mysql_password) RETAIN CURRENT PASSWORD;"
        ;;
    discard) echo "ALTER USER $account DISCARD OLD PASSWORD;" ;;
esac | mysql "$(as root mysql_root_password)"
