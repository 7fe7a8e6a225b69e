-- Takes the answers kept for repeated requests away. Nothing is lost by it: they move to the schema
-- idempotency_keys_rolled_back, and the next apply brings them back.
set local lock_timeout = '3s';

do $$
begin
    if exists (select from idempotency_keys) then
        create schema idempotency_keys_rolled_back;
        alter table idempotency_keys set schema idempotency_keys_rolled_back;
    else
        drop table idempotency_keys;
    end if;
end
$$;
