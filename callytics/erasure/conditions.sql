-- Conditions of the rows of a table t that go, by name; each is an expression, not a statement, so that no linter reads
-- them.

-- name: belongs
-- A condition of the rows that go with those of another table.
t.{column} = any(array(select key from {parents}))

-- name: answers
-- A condition of idempotency_keys: the stored answers to those who sent a call.
(t.body ->> 'audio_file_id')::bigint = any(%(ids)s::bigint[])

-- name: refused_logins
-- A condition of agent_activity_logs: logins that were refused, of an account whose profile was not known.
t.agent_id is null and t.activity_data ->> 'account_id' = any(%(accounts)s::text[])
