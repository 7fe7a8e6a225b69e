-- name: attempt
-- Takes one attempt of the account of a username, and logs the login as refused, which it is until `enter` says
-- otherwise. One statement whose writes are the same for everybody: a guess is counted before its password is looked
-- at, however many are made at once, and an unknown name takes as long. The hash is handed out only where the
-- password still decides.
with account as (
    select
        a.id,
        p.id as agent_id,
        a.password_hash,
        case
            when (a.account_status is distinct from 'active') then 'account'
            when p.is_active is not true then 'profile'
            when a.account_locked_until > now() then 'locked'
            else 'password'
        end as reason,
        -- Imported rows may hold anything. A lock that has passed begins a new count.
        case
            when a.account_locked_until is null then least(greatest(coalesce(a.login_attempts, 0), 0), %(most)s - 1) + 1
            else 1
        end as attempts
    from agent_accounts as a
    left join agent_profiles as p on p.account_id = a.id
    where a.username in (%(username)s, %(composed)s)
    order by (a.username = %(username)s) desc
    limit 1
    for no key update of a
),
counted as (
    update agent_accounts as a
    set
        login_attempts = account.attempts,
        account_locked_until
        = case when account.attempts >= %(most)s then now() + make_interval(mins => %(minutes)s) end
    from account
    where a.id = account.id and account.reason = 'password'
),
logged as (
    insert into agent_activity_logs (agent_id, activity_type, ip_address, user_agent, activity_data)
    select
        account.agent_id, 'login', %(ip_address)s, %(user_agent)s,
        jsonb_strip_nulls(jsonb_build_object(
            'outcome', 'refused', 'reason', coalesce(account.reason, 'unknown'), 'account_id', account.id
        ))
    from (values (true)) as always
    left join account on true
    returning id, created_at
)
select
    account.id as account_id,
    case when account.reason = 'password' then account.password_hash end as password_hash,
    logged.id as log_id,
    logged.created_at as logged_at
from logged
left join account on true

-- name: password_hash
select password_hash
from agent_accounts
where id = %(account_id)s

-- name: enter
-- Opens a session, unless the account was changed since its hash was read: then no row.
with account as (
    update agent_accounts as a
    set login_attempts = 0, account_locked_until = null, last_login_at = now(), password_hash = %(new_hash)s
    where a.id = %(account_id)s and a.password_hash = %(password_hash)s and a.account_status = 'active'
    returning a.id
),
logged as (
    update agent_activity_logs
    set session_id = %(session_id)s, activity_data = '{"outcome": "accepted"}'
    from account
    where agent_activity_logs.id = %(log_id)s and created_at = %(logged_at)s
)
insert into agent_sessions (id, account_id, issued_at, expires_at)
select
    %(session_id)s, account.id, date_trunc('second', now()),
    date_trunc('second', now()) + make_interval(mins => %(minutes)s)
from account
returning issued_at, expires_at

-- name: forget_sessions
-- Each login removes more expired sessions than it adds, so that they do not pile up; none waits for another's.
delete from agent_sessions
where id in (
        select id from agent_sessions
        where expires_at < now() - interval '1 hour'
        order by expires_at
        limit 100
        for update skip locked
    )

-- name: agent
-- The agent of a session in force, whose account and profile are still active; otherwise no row.
select
    p.id, a.id as account_id, a.username, p.full_name, s.id as session_id,
    (
        select coalesce(jsonb_object_agg(r.permission_type, r.permission_level), '{}')
        from agent_rights as r
        where r.agent_id = p.id
    ) as permissions
from agent_sessions as s
join agent_accounts as a on a.id = s.account_id
join agent_profiles as p on p.account_id = a.id
where
    s.id = %(session_id)s and s.account_id = %(account_id)s and s.revoked_at is null and s.expires_at > now()
    and a.account_status = 'active' and p.is_active

-- name: end_session
update agent_sessions
set revoked_at = now(), reason = 'logout'
where id = %(session_id)s and revoked_at is null

-- name: log_logout
insert into agent_activity_logs (agent_id, activity_type, session_id, activity_data)
values (%(agent_id)s, 'logout', %(session_id)s, '{"outcome": "accepted"}')
