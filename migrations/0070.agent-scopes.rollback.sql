-- Takes the scopes away, so that everybody with the permission sees every call again. Nothing is lost by it: they move
-- to the schema agent_scopes_rolled_back, and the next apply brings them back.
set local lock_timeout = '3s';

do $$
begin
    if exists (select from agent_scopes) then
        create schema agent_scopes_rolled_back;
        alter table agent_scopes set schema agent_scopes_rolled_back;
    else
        drop table agent_scopes;
    end if;
end
$$;
