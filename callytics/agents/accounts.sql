-- name: find
-- The account of a username.
select a.id, a.account_status, p.id as agent_id
from agent_accounts as a
left join agent_profiles as p on p.account_id = a.id
where a.id = account_named(%(username)s, %(folded)s)

-- name: hold
-- Lock the row of a username until the transaction ends: two changes at once take turns.
select id
from agent_accounts
where id = account_named(%(username)s, %(folded)s)
for no key update

-- name: is_taken
-- Also by one that only reads alike.
select
    exists(
        select
        from agent_accounts
        where username = %(username)s or folded_account_name(folded_name, username) = %(folded)s
    )

-- name: add_account
-- No row where the username, one that reads alike or the email is taken: an error would put the statement, hash and
-- all, into the server's log.
insert into agent_accounts (username, folded_name, email, password_hash, account_status)
select %(username)s, %(folded)s, %(email)s, %(password_hash)s, 'active'
where
    not exists (select from agent_accounts where folded_account_name(folded_name, username) = %(folded)s)
on conflict do nothing
returning id

-- name: add_profile
insert into agent_profiles (account_id, employee_id, full_name, first_name, last_name, department, position, team)
values (
    %(account_id)s, %(employee_id)s, %(full_name)s, %(first_name)s, %(last_name)s, %(department)s, %(position)s,
    %(team)s
)
on conflict do nothing
returning id

-- name: add_settings
insert into agent_settings (agent_id) values (%(agent_id)s)

-- name: set_password
-- A new password opens an account that wrong ones have locked.
update agent_accounts
set password_hash = %(password_hash)s, login_attempts = 0, account_locked_until = null
where id = %(account_id)s

-- name: lock
-- Who is inactive or pending stays that; imported accounts may have no status at all.
update agent_accounts
set account_status = 'suspended'
where id = %(account_id)s and account_status in ('active', 'suspended') is not false

-- name: unlock
update agent_accounts
set account_status = 'active', login_attempts = 0, account_locked_until = null
where id = %(account_id)s

-- name: forget_guesses
update agent_login_places
set attempts = 0, locked_until = null
where account_id = %(account_id)s

-- name: deactivate
update agent_accounts set account_status = 'inactive'
where id = %(account_id)s

-- name: set_profile_active
update agent_profiles set is_active = %(is_active)s
where account_id = %(account_id)s

-- name: revoke_sessions
update agent_sessions
set revoked_at = now(), reason = %(reason)s
where account_id = %(account_id)s and revoked_at is null and expires_at > now()

-- name: revoke
update agent_permissions
set is_active = false
where agent_id = %(agent_id)s and permission_type = %(permission_type)s and is_active

-- name: grant
insert into agent_permissions (agent_id, permission_type, permission_level, granted_by, expires_at)
values (%(agent_id)s, %(permission_type)s, %(level)s, %(granted_by)s, %(expires_at)s)

-- name: scope
insert into agent_scopes as here (agent_id, scope)
values (%(agent_id)s, %(scope)s)
on conflict (agent_id) do update set scope = %(scope)s, created_at = now()

-- name: log_change
-- What was done to an agent's account; the sources have one type of activity that fits.
with logged as (
    insert into agent_activity_logs (agent_id, activity_type, activity_data)
    values (%(agent_id)s, 'profile_update', %(activity_data)s)
)
insert into audit_log (action, agent_id, subject_id, request_id, details)
values (%(action)s, %(by)s, %(agent_id)s, %(request_id)s, %(activity_data)s)

-- name: list
-- Every account, with its profile where it has one, and the permissions in force. Imported moments may lie beyond what
-- Python knows.
select
    a.id as account_id, p.id as agent_id, a.username, p.full_name, a.email, p.department, p.position,
    a.account_status as status, p.is_active as profile_active, coalesce(a.login_attempts, 0) as login_attempts,
    case
        when greatest(a.account_locked_until, place.locked_until) > now()
            then least(greatest(a.account_locked_until, place.locked_until), '9999-12-30 00:00:00+00')
    end as locked_until,
    case when a.last_login_at between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00' then a.last_login_at end
        as last_login_at,
    a.password_hash,
    coalesce(
        (
            select
                jsonb_agg(
                    jsonb_build_object(
                        'type', r.permission_type, 'level', r.permission_level, 'expires_at', r.expires_at
                    )
                    order by r.permission_type
                )
            from agent_rights as r
            where r.agent_id = p.id
        ),
        '[]'
    ) as permissions,
    coalesce((select o.scope from agent_scopes as o where o.agent_id = p.id), 'all') as scope,
    (
        select count(*)
        from agent_sessions as s
        where s.account_id = a.id and s.revoked_at is null and least(s.expires_at, s.idle_at) > now()
    ) as sessions
from agent_accounts as a
left join agent_profiles as p on p.account_id = a.id
-- Locked for a network, or for all of which none is known.
left join (
    select account_id, max(locked_until) as locked_until
    from agent_login_places
    where locked_until > now()
    group by account_id
) as place on place.account_id = a.id
order by a.username
