-- name: function
-- Whether the function that makes partitions is there: a migration makes it.
select to_regprocedure('public.keep_partitions_ahead(integer)') is not null

-- name: partitions
-- The partitions of every table, in the order of their months.
select c.relname
from pg_inherits as i
join pg_class as c on c.oid = i.inhrelid
join pg_class as parent on parent.oid = i.inhparent
join pg_namespace as n on n.oid = c.relnamespace
where c.relispartition and parent.relkind = 'p' and c.relkind in ('r', 'p') and n.nspname = 'public'
order by 1

-- name: ahead
-- Make this month's partitions and those of the months to come.
select public.keep_partitions_ahead(%(months)s)
