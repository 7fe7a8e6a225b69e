-- What the status page shows at a glance; what 'callytics status' asks as well is in callytics/status.

-- name: growth
-- What people said and what was looked at, month by month, as the statistics have it; the oldest month first.
select
    to_char(month.first, 'YYYY-MM') as month,
    coalesce(
        sum(greatest(part.reltuples, 0)) filter (where parent.relname = any(%(spoken)s::text[])), 0
    )::bigint as rows,
    coalesce(sum(pg_total_relation_size(part.oid)), 0)::bigint as bytes
from (
    select date_trunc('month', now() at time zone 'UTC') - make_interval(months => ago) as first
    from generate_series(0, %(months)s - 1) as ago
) as month
left join pg_class as parent on parent.relkind = 'p' and parent.relnamespace = 'public'::regnamespace
left join pg_class as part
    on part.relnamespace = parent.relnamespace and part.relispartition
        and part.relname = parent.relname || to_char(month.first, '_YYYY_MM')
group by month.first
order by month.first
