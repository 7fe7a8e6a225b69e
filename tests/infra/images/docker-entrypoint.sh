#!/bin/bash
# Keeps to what the official image of PostgreSQL promises and docker-compose.yml relies on: POSTGRES_USER,
# POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_INITDB_ARGS, PGDATA, and the .sql files of /docker-entrypoint-initdb.d, which
# run once, against a server that listens on its socket only. https://hub.docker.com/_/postgres
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
    install --directory --mode 0700 --owner postgres --group postgres "$PGDATA"
    install --directory --mode 3777 --owner postgres --group postgres /var/run/postgresql
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi

user=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?is not set}"
    # shellcheck disable=SC2086
    initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-}
    pg_ctl --options="$(printf '%q ' "${@:2}") -c listen_addresses=" --wait start
    for file in /docker-entrypoint-initdb.d/*.sql; do
        [ ! -e "$file" ] || psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" --dbname "${POSTGRES_DB:-$user}" -f "$file"
    done
    pg_ctl --mode=fast --wait stop
fi
exec "$@"
