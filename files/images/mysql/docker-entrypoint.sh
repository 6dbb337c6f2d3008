#!/usr/bin/env bash
# The official image's contract without its temporary server. A new database is initialised beside its final place; the users
# are made by --init-file, before the server's first connection. The folder .initialised stands for "not finished": whatever
# is killed, whenever, the next start goes on from there.
set -euo pipefail

fail() {
    printf '[entrypoint] %s\n' "$@" >&2
    exit 1
}

# read_variable NAME: moves NAME, or the content of the file that NAME_FILE names, into `value` and out of the environment.
read_variable() {
    local file="${1}_FILE"
    value=${!1:-}
    [[ -z $value || -z ${!file:-} ]] || fail "Both $1 and $file are set; set one of them."
    [[ -z ${!file:-} ]] || value=$(< "${!file}")
    unset "$1" "$file"
}

# The value of one of the server's options, whether from its arguments, a config file or its defaults.
option() {
    local name=$1
    shift
    "$@" --verbose --help 2> /dev/null | awk -v name="$name" 'index($0, name " ") == 1 { print $2; exit }'
}

quoted() { # a string literal, on one line, as --init-file wants its statements
    local text=${1//\\/\\\\}
    text=${text//\'/\\\'}
    text=${text//$'\n'/\\n}
    printf "'%s'" "${text//$'\r'/\\r}"
}

identifier() {
    local name=${1//\`/\`\`}
    echo "\`$name\`"
}

pattern() { # a database's name in GRANT, where _ and % would be wildcards
    local text=${1//_/\\_}
    identifier "${text//%/\\%}"
}

# Every statement may run twice: a start that was cut off runs them again.
statements() {
    echo "SET SESSION sql_log_bin = 0, sql_mode = '';"
    [[ -n $skip_timezones ]] || printf 'USE mysql;\n%s\n' "$(< /usr/share/mysql/timezones.sql)"
    [[ -z $database ]] || echo "CREATE DATABASE IF NOT EXISTS $(identifier "$database");"
    if [[ -n $user && -n $password ]]; then
        account="$(quoted "$user")@'%'"
        echo "CREATE USER IF NOT EXISTS $account;"
        echo "ALTER USER $account IDENTIFIED BY $(quoted "$password");"
        [[ -z $database ]] || echo "GRANT ALL ON $(pattern "$database").* TO $account;"
    fi
    for host in localhost "$root_host"; do
        account="'root'@$(quoted "$host")"
        echo "CREATE USER IF NOT EXISTS $account;"
        echo "ALTER USER $account IDENTIFIED BY $(quoted "$root_password");"
        echo "GRANT ALL ON *.* TO $account WITH GRANT OPTION;"
    done
}

read_variables() {
    read_variable MYSQL_ROOT_HOST && root_host=${value:-%}
    read_variable MYSQL_DATABASE && database=$value
    read_variable MYSQL_USER && user=$value
    read_variable MYSQL_PASSWORD && password=$value
    read_variable MYSQL_ROOT_PASSWORD && root_password=$value
    skip_timezones=${MYSQL_INITDB_SKIP_TZINFO:-}
}

check_variables() {
    [[ -n $root_password${MYSQL_ALLOW_EMPTY_PASSWORD:-}${MYSQL_RANDOM_ROOT_PASSWORD:-} ]] ||
        fail "The database is new and no choice of a root password was made." \
            "Set one of MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD and MYSQL_RANDOM_ROOT_PASSWORD."
    [[ $user != root ]] || fail "MYSQL_USER is for another user than root; root's password is MYSQL_ROOT_PASSWORD."
    [[ -z $(ls -A /docker-entrypoint-initdb.d) && -z ${MYSQL_ONETIME_PASSWORD:-} ]] ||
        fail "/docker-entrypoint-initdb.d and MYSQL_ONETIME_PASSWORD are not supported by this equivalent of the official image."
    [[ -z $user || -n $password ]] || echo "[entrypoint] MYSQL_USER without MYSQL_PASSWORD: no user is made." >&2
    if [[ -n ${MYSQL_RANDOM_ROOT_PASSWORD:-} ]]; then
        root_password=$(head -c 18 /dev/urandom | base64)
        echo "[entrypoint] GENERATED ROOT PASSWORD: $root_password"
    fi
}

# prepare DATADIR COMMAND...: a renamed folder is a finished one.
prepare() {
    local datadir=$1
    shift
    if [[ ! -d $datadir/.initialised ]]; then
        rm -rf "$datadir/.initialising"
        "$@" --initialize-insecure --datadir="$datadir/.initialising"
        mv "$datadir/.initialising" "$datadir/.initialised"
    fi
    find "$datadir/.initialised" -mindepth 1 -maxdepth 1 -exec mv --target-directory="$datadir" {} +
}

# Once the server accepts connections, what --init-file asked for is done.
finish_in_background() {
    local datadir=$1 socket=$2 file=$3
    {
        until mysqladmin --no-defaults --socket="$socket" --connect-timeout=5 ping; do sleep 0.2; done
        rm -f "$file"
        rmdir "$datadir/.initialised"
    } &> /dev/null &
    # Ignored across exec, the signal lets the kernel reap that child: mysqld would leave it as a zombie.
    trap '' CHLD
}

main() {
    [[ ${1:-} != -* ]] || set -- mysqld "$@"
    [[ ${1:-} == mysqld && ! " $* " =~ \ (-\?|--help|-V|--version|--print-defaults)\  ]] || exec "$@"

    local datadir socket
    datadir=$(option datadir "$@")
    datadir=${datadir%/}
    socket=$(option socket "$@")
    [[ -n $datadir ]] || fail "mysqld does not accept its options: $("$@" --verbose --help 2>&1 > /dev/null | tail -n 3)"
    if [[ $(id -u) == 0 ]]; then
        mkdir -p "$datadir" "${socket%/*}"
        find "$datadir" "${socket%/*}" ! -user mysql -exec chown mysql {} +
        exec setpriv --reuid=mysql --regid=mysql --clear-groups "$0" "$@"
    fi

    read_variables
    if [[ ! -d $datadir/mysql || -d $datadir/.initialised ]]; then
        check_variables
        prepare "$datadir" "$@"
        file=${socket%/*}/init.sql
        (umask 077 && statements > "$file")
        finish_in_background "$datadir" "$socket" "$file"
        set -- "$@" --init-file="$file"
    fi
    exec "$@"
}

main "$@"
