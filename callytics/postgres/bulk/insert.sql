-- Queries of bulk.py, by name.

-- name: columns
-- A table's columns by name: what its type is called (the one below a domain, the element's for an array, enum for
-- every enum), and whether it is an array.
with recursive resolved as (
    select attname, atttypid as type_id
    from pg_attribute
    where attrelid = %s::regclass and attnum > 0 and not attisdropped
    union all
    select attname, typbasetype
    from resolved
    join pg_type on pg_type.oid = type_id and typtype = 'd'
)
select
    attname,
    case coalesce(element.typtype, type.typtype) when 'e' then 'enum' else coalesce(element.typname, type.typname) end,
    element.oid is not null
from resolved
join pg_type as type on type.oid = type_id and type.typtype <> 'd'
left join pg_type as element on element.oid = type.typelem and type.typcategory = 'A'

-- name: copy
-- The rows as they come: in COPY's binary form, or as CSV where a type has none that we know.
copy {table} ({columns}) from stdin (format {format}, encoding 'UTF8')
