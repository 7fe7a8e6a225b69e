-- name: attempt
-- Takes one attempt of the account of a username, and logs that it was tried; what came of it follows in a row of its
-- own, as the trail takes no changes. One statement whose writes are the same for everybody: a guess is counted before
-- its password is looked at, however many are made at once, and an unknown name takes as long. The hash is handed out
-- only where the password still decides. Each place has its own count. Those from which the agent entered lately are
-- known; the guesses from all others count together, too, and beyond a number are slowed down.
with account as (
    select
        a.id,
        p.id as agent_id,
        a.password_hash,
        greatest(host.entered_at, network.entered_at) > now() - make_interval(days => %(known_days)s) as is_known,
        case when host.entered_at > now() - make_interval(days => %(known_days)s) then %(host)s else %(network)s end
            as place,
        case
            when (a.account_status is distinct from 'active') then 'account'
            when p.is_active is not true then 'profile'
            -- Wrong passwords lock no longer than this: whatever does is meant for everybody.
            when a.account_locked_until > now() + make_interval(mins => %(minutes)s) then 'locked'
            when
                a.account_locked_until > now()
                and coalesce(greatest(host.entered_at, network.entered_at), '-infinity')
                <= now() - make_interval(days => %(known_days)s)
                then 'locked'
            else 'password'
        end as reason,
        -- Imported rows may hold anything. A day after the last lock a new count begins.
        case
            when a.account_locked_until < now() - interval '1 day' then 1
            else least(greatest(coalesce(a.login_attempts, 0), 0), %(most_unknown)s - 1) + 1
        end as attempts
    from agent_accounts as a
    left join agent_profiles as p on p.account_id = a.id
    left join agent_login_places as host on host.account_id = a.id and host.place = %(host)s
    left join agent_login_places as network on network.account_id = a.id and network.place = %(network)s
    where a.id = account_named(%(username)s, %(folded)s)
    for no key update of a
),
tried as (
    insert into agent_login_places as here (account_id, place, attempts, locked_until)
    select account.id, account.place, 1, case when %(most)s = 1 then now() + make_interval(mins => %(minutes)s) end
    from account
    where account.reason = 'password'
    on conflict (account_id, place) do update
        set
            tried_at = now(),
            -- One more than the most: refused. A lock that has passed begins a new count.
            attempts = case when here.locked_until <= now() then 1 else least(here.attempts, %(most)s) + 1 end,
            locked_until
            = case
                when here.locked_until > now() then here.locked_until
                when %(most)s = 1 or (here.locked_until is null and here.attempts + 1 >= %(most)s)
                    then now() + make_interval(mins => %(minutes)s)
            end
    returning attempts <= %(most)s as is_open
),
judged as (
    select
        account.*,
        case when tried.is_open is false then 'locked' else account.reason end as verdict
    from account
    left join tried on true
),
counted as (
    update agent_accounts as a
    set
        login_attempts = judged.attempts,
        -- As many guesses in a time as at a single place.
        account_locked_until
        = case
            when judged.attempts >= %(most_unknown)s then now() + make_interval(secs => %(minutes)s * 60.0 / %(most)s)
        end
    from judged
    where a.id = judged.id and judged.verdict = 'password' and judged.is_known is not true
),
logged as (
    insert into agent_activity_logs (agent_id, activity_type, ip_address, user_agent, activity_data)
    select
        judged.agent_id, 'login', %(ip_address)s, %(user_agent)s,
        jsonb_strip_nulls(jsonb_build_object(
            'outcome', 'tried', 'account_id', judged.id
        ))
    from (values (true)) as always
    left join judged on true
)
select
    judged.id as account_id,
    judged.agent_id,
    judged.place,
    judged.is_known,
    coalesce(judged.verdict, 'unknown') as verdict,
    case when judged.verdict = 'password' then judged.password_hash end as password_hash
from (values (true)) as always
left join judged on true

-- name: refused
-- What came of an attempt, for everybody alike: an unknown name must not be told by the time that this takes.
with logged as (
    insert into agent_activity_logs (agent_id, activity_type, ip_address, user_agent, activity_data)
    values (
        -- Somebody may have removed the profile since.
        (select id from agent_profiles where id = %(agent_id)s), 'login', %(ip_address)s, %(user_agent)s,
        jsonb_strip_nulls(jsonb_build_object(
            'outcome', 'refused', 'reason', %(verdict)s::text, 'account_id', %(account_id)s::bigint
        ))
    )
)
insert into audit_log (action, outcome, subject_id, request_id, ip_address, details)
values (
    'login', 'refused', %(agent_id)s, %(request_id)s, %(ip_address)s,
    jsonb_build_object('reason', %(verdict)s::text)
)

-- name: known
-- Whether the agent of a username entered lately from one of these places.
select
    exists(
        select
        from agent_login_places as place
        join agent_accounts as a on a.id = place.account_id
        where
            a.id = account_named(%(username)s, %(folded)s) and place.place in (%(host)s, %(network)s)
            and place.entered_at > now() - make_interval(days => %(known_days)s)
    )

-- name: password_hash
select password_hash
from agent_accounts
where id = %(account_id)s

-- name: enter
-- Opens a session, unless the account was changed since its hash was read: then no row.
with account as (
    update agent_accounts as a
    set
        -- What others tried elsewhere goes on to count.
        login_attempts = case when %(is_known)s then a.login_attempts else 0 end,
        account_locked_until = case when %(is_known)s then a.account_locked_until end,
        last_login_at = now(),
        password_hash = %(new_hash)s
    where a.id = %(account_id)s and a.password_hash = %(password_hash)s and a.account_status = 'active'
    returning a.id
),
entered as (
    insert into agent_login_places as here (account_id, place, entered_at)
    select distinct account.id, place.place, now()
    from account
    cross join (values (%(host)s), (%(network)s)) as place (place)
    on conflict (account_id, place) do update set
        entered_at = now(),
        tried_at = now(),
        attempts = case when here.place = %(place)s then 0 else here.attempts end,
        locked_until = case when here.place = %(place)s then null else here.locked_until end
),
logged as (
    insert into agent_activity_logs (agent_id, activity_type, ip_address, user_agent, session_id, activity_data)
    select
        (select id from agent_profiles where id = %(agent_id)s), 'login', %(ip_address)s, %(user_agent)s,
        %(session_id)s, '{"outcome": "accepted"}'
    from account
),
noted as (
    insert into audit_log (action, agent_id, request_id, ip_address)
    select 'login', %(agent_id)s, %(request_id)s, %(ip_address)s
    from account
)
insert into agent_sessions (id, account_id, issued_at, expires_at, idle_at)
select
    %(session_id)s, account.id, date_trunc('second', now()),
    date_trunc('second', now()) + make_interval(mins => %(minutes)s), now() + make_interval(mins => %(idle_minutes)s)
from account
returning issued_at, expires_at

-- name: confirmed
-- The password was right: the attempt counts no longer, and the log says so.
with logged as (
    insert into agent_activity_logs (agent_id, activity_type, ip_address, user_agent, activity_data)
    values (%(agent_id)s, 'login', %(ip_address)s, %(user_agent)s, '{"outcome": "confirmed"}')
),
noted as (
    insert into audit_log (action, agent_id, request_id, ip_address)
    values ('account.confirm', %(agent_id)s, %(request_id)s, %(ip_address)s)
)
update agent_login_places
set attempts = 0, locked_until = null
where account_id = %(account_id)s and place = %(place)s

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

-- name: forget_places
delete from agent_login_places
where (account_id, place) in (
        select account_id, place from agent_login_places
        where tried_at < now() - interval '90 days'
        order by tried_at
        limit 100
        for update skip locked
    )

-- name: agent
-- The agent of a session in force, whose account and profile are still active; otherwise no row. A use is noted at
-- most once a minute: a write for each request would cost more than the request. Where nothing can be written, no
-- session ends for not being used.
select
    p.id, a.id as account_id, a.username, p.full_name, s.id as session_id,
    current_setting('transaction_read_only')::boolean
    or coalesce(
        s.idle_at between now() + make_interval(secs => %(idle_minutes)s * 60 - least(60, %(idle_minutes)s * 6))
        and now() + make_interval(mins => %(idle_minutes)s),
        false
    ) as is_noted,
    (
        select coalesce(jsonb_object_agg(r.permission_type, r.permission_level), '{}')
        from agent_rights as r
        where r.agent_id = p.id
    ) as permissions,
    coalesce((select o.scope from agent_scopes as o where o.agent_id = p.id), 'all') as scope
from agent_sessions as s
join agent_accounts as a on a.id = s.account_id
join agent_profiles as p on p.account_id = a.id
where
    s.id = %(session_id)s and s.account_id = %(account_id)s and s.revoked_at is null and s.expires_at > now()
    and (s.idle_at is null or s.idle_at > now() or current_setting('transaction_read_only')::boolean)
    and a.account_status = 'active' and p.is_active

-- name: note_use
-- Requests at one moment do not wait for each other: one of them notes it for all.
update agent_sessions
set idle_at = now() + make_interval(mins => %(idle_minutes)s)
where id in (select id from agent_sessions where id = %(session_id)s for no key update skip locked)

-- name: end_session
update agent_sessions
set revoked_at = now(), reason = 'logout'
where id = %(session_id)s and revoked_at is null

-- name: log_logout
with logged as (
    insert into agent_activity_logs (agent_id, activity_type, session_id, activity_data)
    values (%(agent_id)s, 'logout', %(session_id)s, '{"outcome": "accepted"}')
)
insert into audit_log (action, agent_id, request_id)
values ('logout', %(agent_id)s, %(request_id)s)

-- name: visible
-- By whose names the calls are known that an agent may see. A team is a text of the profile, within a department, or
-- one of which both are members. A call knows its agent by name alone: a name that somebody else has as well, who is
-- not one of these, shows nobody anything.
with seen as (
    select p.id
    from agent_profiles as p
    where p.id = %(agent_id)s
    union
    select p.id
    from agent_profiles as me
    join agent_profiles as p on p.team = me.team and p.department = me.department
    where me.id = %(agent_id)s and me.team <> '' and %(scope)s = 'team'
    union
    select theirs.agent_id
    from agent_team_memberships as mine
    join agent_teams as t on t.id = mine.team_id and t.is_active
    join agent_team_memberships as theirs on theirs.team_id = mine.team_id
    where mine.agent_id = %(agent_id)s
        and %(scope)s = 'team'
        and mine.is_active and (mine.left_date > current_date) is not false
        and theirs.is_active and (theirs.left_date > current_date) is not false
)
select p.full_name
from agent_profiles as p
where p.full_name <> ''
group by p.full_name
having bool_and(p.id in (select id from seen))
