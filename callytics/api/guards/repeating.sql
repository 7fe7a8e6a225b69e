-- name: take_turn
-- False while another request with the same key is under way. The lock ends with the transaction, however that ends.
select
    pg_try_advisory_xact_lock(
        hashtextextended(format('idempotency %%s %%s', %(account_id)s::bigint, %(key)s::text), 0)
    )

-- name: forget
-- Each use removes more old keys than it adds.
delete from idempotency_keys
where (account_id, key) in (
        select account_id, key from idempotency_keys
        where created_at < now() - interval '1 day'
        order by created_at
        limit 100
        for update skip locked
    )

-- name: forget_own
-- This very one, which may be beyond the hundred oldest.
delete from idempotency_keys
where account_id = %(account_id)s and key = %(key)s and created_at < now() - interval '1 day'

-- name: answered
select fingerprint, body
from idempotency_keys
where account_id = %(account_id)s and key = %(key)s

-- name: keep
insert into idempotency_keys (account_id, key, fingerprint, status, body)
values (%(account_id)s, %(key)s, %(fingerprint)s, %(status)s, %(body)s)
