-- Takes the places of logins away. Nothing is lost by it: they move to the schema
-- agent_login_places_rolled_back, and the next apply brings them back.
set local lock_timeout = '3s';

do $$
begin
    if exists (select from agent_login_places) then
        create schema agent_login_places_rolled_back;
        alter table agent_login_places set schema agent_login_places_rolled_back;
    else
        drop table agent_login_places;
    end if;
end
$$;

comment on column agent_accounts.login_attempts is 'Logins tried since the last success or lock';
comment on column agent_accounts.account_locked_until is null;
