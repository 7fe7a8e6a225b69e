-- The cluster's own number, as initdb drew it.
select pg_catalog.to_json(system_identifier)
from pg_catalog.pg_control_system()
