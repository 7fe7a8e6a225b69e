-- What logging in needs beyond the sources' tables: sessions that can be revoked, and a log of refused logins.
-- A signed token alone is valid until it expires; agent_sessions knows which one was ended before. A login under a name that nobody bears is
-- logged too, so agent_activity_logs.agent_id may be null.
-- depends: 0040.partitioning

-- A busy table makes this migration give up and be tried again, instead of making everybody wait behind it.
set local lock_timeout = '3s';

-- A rollback puts sessions aside instead of dropping them; here they come back.
do $$
begin
    if to_regclass('agent_sessions_rolled_back.agent_sessions') is not null then
        alter table agent_sessions_rolled_back.agent_sessions set schema public;
    end if;
end
$$;

create table if not exists agent_sessions (
    id         text        primary key,
    account_id bigint      not null references agent_accounts (id) on delete cascade,
    issued_at  timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz,
    reason     text,
    constraint agent_sessions_reason_check check (reason in ('logout', 'password', 'lock', 'deactivation'))
);

comment on table agent_sessions is 'Logins in force, ended or expired; expired ones are removed by later logins';
comment on column agent_sessions.id is 'The token''s jti; the token itself is kept nowhere';
comment on column agent_sessions.expires_at is 'When the token expires by itself';
comment on column agent_sessions.revoked_at is 'When the session was ended before it expired';
comment on column agent_sessions.reason is 'Why it was ended';

-- Ending all sessions of an account; cascading deletes.
create index if not exists agent_sessions_account_id_idx on agent_sessions (account_id);

-- Removing expired sessions, the oldest first.
create index if not exists agent_sessions_expires_at_idx on agent_sessions (expires_at);

-- Where a type was granted several times, the highest level counts. Rows without a level, or of which nobody said that they are active, grant
-- nothing.
create or replace view agent_rights as
select distinct on (agent_id, permission_type) agent_id, permission_type, permission_level, expires_at
from agent_permissions
where is_active and permission_level is not null and (expires_at is null or expires_at > now())
order by agent_id, permission_type, array_position(array['read', 'write', 'admin'], permission_level) desc, expires_at desc nulls first;

comment on view agent_rights is 'The permissions in force: the highest level of each type that an agent holds';

-- The parent's column takes every partition's with it, and new partitions are made like the parent.
alter table agent_activity_logs alter column agent_id drop not null;

comment on column agent_activity_logs.agent_id is 'Who; null where a login was refused and no agent bears the name';
comment on column agent_accounts.password_hash is
    'Argon2id, or as imported until the next login, salt$hex: PBKDF2-HMAC-SHA256, 100,000 rounds over the salt''s text';
comment on column agent_accounts.login_attempts is 'Logins tried since the last success or lock';

do $$
begin
    if to_regclass('agent_sessions_rolled_back.agent_activity_logs') is not null then
        insert into agent_activity_logs
            (id, agent_id, activity_type, activity_description, ip_address, user_agent, session_id, activity_data, created_at)
        select id, agent_id, activity_type, activity_description, ip_address, user_agent, session_id, activity_data, created_at
        from agent_sessions_rolled_back.agent_activity_logs;
        drop table agent_sessions_rolled_back.agent_activity_logs;
    end if;
    drop schema if exists agent_sessions_rolled_back;
end
$$;
