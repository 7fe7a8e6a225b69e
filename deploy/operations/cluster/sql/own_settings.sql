-- What Debian's postgresql.conf says and no file after it, which Patroni does not have the server read.
select coalesce(json_object_agg(lower(f.name), f.setting), '{}'::json)
from pg_file_settings as f
where f.sourcefile ~ '^/etc/postgresql/.*/postgresql\.conf$' and f.applied
