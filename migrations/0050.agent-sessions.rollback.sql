-- Takes the sessions away and requires an agent in every line of the activity log again. Nothing is lost by it:
-- sessions, and the refused logins that are nobody's, move to the schema agent_sessions_rolled_back, and the next apply
-- brings them back. Readers of the log wait while it is read once.
set local lock_timeout = '3s';

drop view if exists agent_rights;

lock table agent_sessions, agent_activity_logs in access exclusive mode;

do $$
begin
    if exists (select from agent_sessions) or exists (select from agent_activity_logs where agent_id is null) then
        create schema agent_sessions_rolled_back;
        alter table agent_sessions set schema agent_sessions_rolled_back;
        create table agent_sessions_rolled_back.agent_activity_logs as
        select * from agent_activity_logs where agent_id is null;
        delete from agent_activity_logs where agent_id is null;
    else
        drop table agent_sessions;
    end if;
end
$$;

alter table agent_activity_logs alter column agent_id set not null;

comment on column agent_activity_logs.agent_id is null;
comment on column agent_accounts.password_hash is 'salt$hex: PBKDF2-HMAC-SHA256, 100,000 rounds over the salt''s text';
comment on column agent_accounts.login_attempts is 'Failed logins since the last success';
