-- The trail: who did what, and who saw which call.

-- name: note
-- Several entries in one statement, the array of JSON objects.
insert into audit_log (action, outcome, agent_id, subject_id, calls, request_id, ip_address, details)
select noted.*
from jsonb_to_recordset(%(entries)s) as noted (
        action text, outcome text, agent_id bigint, subject_id bigint, calls bigint[], request_id text, ip_address text,
        details jsonb
    )

-- name: find
-- The newest first. Ids are given in the order of time, and each month has an index of its own by which to begin.
select
    l.id, l.created_at, l.action, l.outcome, l.agent_id, acting.username as agent, l.subject_id,
    concerned.username as subject, l.calls, l.request_id, l.ip_address, l.details
from audit_log as l
left join (agent_profiles as p join agent_accounts as acting on acting.id = p.account_id) on p.id = l.agent_id
left join (
    agent_profiles as q
    join agent_accounts as concerned on concerned.id = q.account_id
) on q.id = l.subject_id
where {conditions}
order by l.id desc
limit %(limit)s

-- name: agent
-- The profile of a username, none where there is no such agent.
select p.id
from agent_profiles as p
where p.account_id = account_named(%(username)s, %(folded)s)
