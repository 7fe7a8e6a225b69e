-- Where logins of an account come from: guesses are counted for each place, so that those of others elsewhere do not keep its owner out, and a
-- place from which the agent entered lately keeps a way in.
-- depends: 0060.index-newest-said

-- References lock what they refer to: a busy table makes this migration give up and be tried again.
set local lock_timeout = '3s';

-- A rollback puts the rows aside instead of dropping them; here they come back.
do $$
begin
    if to_regclass('agent_login_places_rolled_back.agent_login_places') is not null then
        alter table agent_login_places_rolled_back.agent_login_places set schema public;
    end if;
    drop schema if exists agent_login_places_rolled_back;
end
$$;

create table if not exists agent_login_places (
    account_id   bigint      not null references agent_accounts (id) on delete cascade,
    place        text        not null,
    attempts     bigint      not null default 0,
    locked_until timestamptz,
    entered_at   timestamptz,
    tried_at     timestamptz not null default now(),
    primary key (account_id, place)
);

comment on table agent_login_places is 'Where logins of an account come from, and how many failed there; those long unused are removed by later logins';
comment on column agent_login_places.place is 'A network: /24 of IPv4, /64 of IPv6; or an address of IPv4 from which the agent entered; empty where none is known';
comment on column agent_login_places.attempts is 'Logins tried here since the last success or lock';
comment on column agent_login_places.locked_until is 'Until when logins from here are refused';
comment on column agent_login_places.entered_at is 'The last login from here';
comment on column agent_accounts.login_attempts is 'Logins tried from places that are not known, since the last success from such a place';
comment on column agent_accounts.account_locked_until is 'Until when logins from places that are not known are refused';

-- Removing what is long unused, the oldest first.
create index if not exists agent_login_places_tried_at_idx on agent_login_places (tried_at);
