-- Queries of bulk.py, by name.

-- name: columns
-- A table's columns by name: what its type is called (the one below a domain, the element's for an array, enum for
-- every enum), and whether it is an array.
WITH RECURSIVE resolved AS (
    SELECT attname, atttypid AS type_id
    FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT attname, typbasetype
    FROM resolved
    JOIN pg_type ON pg_type.oid = type_id AND typtype = 'd'
)
SELECT
    attname,
    CASE coalesce(element.typtype, type.typtype) WHEN 'e' THEN 'enum' ELSE coalesce(element.typname, type.typname) END,
    element.oid IS NOT NULL
FROM resolved
JOIN pg_type AS type ON type.oid = type_id AND type.typtype <> 'd'
LEFT JOIN pg_type AS element ON element.oid = type.typelem AND type.typcategory = 'A'
