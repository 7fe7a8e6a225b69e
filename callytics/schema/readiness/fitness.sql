-- What migrate asks of a database before it makes anything there.

-- name: taken
-- Which of these names something has already.
select name
from unnest(%(names)s::text[]) as name
where to_regclass(name) is not null or to_regproc(name) is not null
order by name

-- name: encoding
select current_database(), pg_encoding_to_char(encoding)
from pg_database
where datname = current_database()

-- name: fitness
-- Whether a database can hold our schema, and whether this role may make it.
select
    current_user as role,
    quote_ident(current_user) as identifier,
    current_database() as database,
    quote_ident(current_database()) as database_identifier,
    has_schema_privilege('public', 'create') as in_public,
    has_database_privilege(current_database(), 'create') or to_regnamespace('imports') is not null as schemas
