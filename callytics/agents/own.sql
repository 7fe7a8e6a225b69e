-- name: change_password
-- No row where the password was changed meanwhile.
update agent_accounts
set password_hash = %(new_hash)s
where id = %(account_id)s and password_hash = %(password_hash)s
returning id

-- name: end_others
update agent_sessions
set revoked_at = now(), reason = 'password'
where account_id = %(account_id)s and id <> %(session_id)s and revoked_at is null

-- name: log
with logged as (
    insert into agent_activity_logs (agent_id, activity_type, session_id, activity_data)
    values (%(agent_id)s, %(activity)s, %(session_id)s, %(data)s)
)
insert into audit_log (action, agent_id, subject_id, request_id, details)
values (%(action)s, %(agent_id)s, %(agent_id)s, %(request_id)s, %(data)s)
