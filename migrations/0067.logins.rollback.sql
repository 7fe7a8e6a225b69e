-- Compares names of accounts as they are typed again, and lets sessions last for their time. Nothing is lost by it:
-- folded names and when sessions would have ended move to the schema logins_rolled_back, and the next apply brings
-- them back.
set local lock_timeout = '3s';

create schema logins_rolled_back;

create table logins_rolled_back.names as
select id, username, folded_name
from agent_accounts
where folded_name is not null;

create table logins_rolled_back.moments as
select id, idle_at
from agent_sessions
where idle_at is not null;

drop trigger if exists forget_folded_name on agent_accounts;

drop function if exists forget_folded_name();

drop function if exists account_named(text, text);

drop index if exists agent_accounts_folded_account_name_idx;

drop function if exists folded_account_name(text, text);

alter table agent_accounts drop column if exists folded_name;

alter table agent_sessions drop column if exists idle_at;

do $$
begin
    if not exists(select from logins_rolled_back.names) and not exists(select from logins_rolled_back.moments) then
        drop schema logins_rolled_back cascade;
    end if;
end
$$;
