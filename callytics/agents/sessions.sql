-- name: in_force
-- An account's, the newest first, with where they were opened.
select
    s.id, s.issued_at, s.expires_at, s.idle_at, coalesce(s.id = %(current)s, false) as is_current,
    opened.ip_address, opened.user_agent
from agent_sessions as s
left join lateral (
    select l.id, l.ip_address, l.user_agent
    from agent_activity_logs as l
    where
        l.agent_id = %(agent_id)s and l.session_id = s.id and l.activity_type = 'login'
        -- The log is partitioned by this: a login is a line of about that moment.
        and l.created_at between s.issued_at - interval '1 minute' and s.issued_at + interval '1 minute'
    limit 1
) as opened on true
where s.account_id = %(account_id)s and s.revoked_at is null and least(s.expires_at, s.idle_at) > now()
-- Several may begin within a second.
order by s.issued_at desc, opened.id desc nulls last, s.id

-- name: end
-- One session, or with null all of them.
update agent_sessions
set revoked_at = now(), reason = 'logout'
where
    account_id = %(account_id)s and (id = %(ended)s::text or %(ended)s::text is null)
    and revoked_at is null and least(expires_at, idle_at) > now()
