-- Which calls an agent may see whose permissions let them view analyses: their own, those of their team, or all.
-- Without a row it is all, as before: imported agents keep what they could do.
-- depends: 0069.audit-log

-- References lock what they refer to: a busy table makes this migration give up and be tried again.
set local lock_timeout = '3s';

-- A rollback puts the rows aside instead of dropping them; here they come back.
do $$
begin
    if to_regclass('agent_scopes_rolled_back.agent_scopes') is not null then
        alter table agent_scopes_rolled_back.agent_scopes set schema public;
    end if;
    drop schema if exists agent_scopes_rolled_back;
end
$$;

create table if not exists agent_scopes (
    agent_id   bigint      primary key references agent_profiles (id) on delete cascade,
    scope      text        not null,
    created_at timestamptz not null default now(),
    constraint agent_scopes_scope_check check (scope in ('own', 'team', 'all'))
);

comment on table agent_scopes is 'Which calls an agent may see; without a row all of them';
comment on column agent_scopes.scope is
    'own: those whose session names the agent · team: those of the agent''s team, too · all. The permission admin sees all calls, whatever stands here';
