#!/bin/sh
# Dumps the database into the volume "backups", whole or not at all, and removes dumps older than BACKUP_KEEP_DAYS.
# With arguments it runs them instead, for pg_restore: the volume and the owner's login are the same.
set -eu
umask 077
cd "$PGDATA"
[ $# = 0 ] || exec "$@"

name="callytics-$(date -u +%Y%m%dT%H%M%SZ).dump"
trap 'rm -f "$name.part"' EXIT
pg_dump --format=custom --file="$name.part"
# What can't be listed can't be restored either.
pg_restore --list "$name.part" >/dev/null
mv "$name.part" "$name"
# Only once there is a newer one.
find . -maxdepth 1 -name 'callytics-*.dump' -mtime "+$BACKUP_KEEP_DAYS" -delete
echo "$name"
