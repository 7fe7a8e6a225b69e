-- Answers to requests that were sent with an Idempotency-Key, so that one that is repeated gets the same answer and stores nothing again. A key
-- is stored in the transaction of what it stands for.
-- depends: 0062.shared-rows

-- References lock what they refer to: a busy table makes this migration give up and be tried again.
set local lock_timeout = '3s';

-- A rollback puts the rows aside instead of dropping them; here they come back.
do $$
begin
    if to_regclass('idempotency_keys_rolled_back.idempotency_keys') is not null then
        alter table idempotency_keys_rolled_back.idempotency_keys set schema public;
    end if;
    drop schema if exists idempotency_keys_rolled_back;
end
$$;

create table if not exists idempotency_keys (
    account_id  bigint      not null references agent_accounts (id) on delete cascade,
    key         text        not null,
    fingerprint text        not null,
    status      bigint      not null,
    body        jsonb       not null,
    created_at  timestamptz not null default now(),
    primary key (account_id, key)
);

comment on table idempotency_keys is 'Answers to requests with an Idempotency-Key, for a day; older ones are removed by later requests';
comment on column idempotency_keys.key is 'As the client chose it: each agent has keys of their own';
comment on column idempotency_keys.fingerprint is 'SHA-256 of what was sent; the same key with something else is refused';
comment on column idempotency_keys.body is 'The answer, which holds ids only';

-- Removing old keys, the oldest first.
create index if not exists idempotency_keys_created_at_idx on idempotency_keys (created_at);
