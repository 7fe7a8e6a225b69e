-- Names of accounts are compared by NFKC and without upper and lower case, and sessions end when they are not used.
-- The application folds the names that it creates; imported ones, two of which may fold equal, are folded here as well
-- as the database's locale can.
-- depends: 0066.trails

-- A busy table makes this migration give up and be tried again, instead of making everybody wait behind it.
set local lock_timeout = '3s';

-- Unique, so that of two accounts that are made at one moment one is refused. Imported accounts have none.
alter table agent_accounts add column if not exists folded_name text unique;

comment on column agent_accounts.folded_name is
    'The username as it is compared with others, of accounts that were created here; null of imported ones';

-- No longer than an index takes, whatever was imported.
create or replace function folded_account_name(folded_name text, username text) returns text
language sql immutable
as $$
    select left(coalesce(folded_name, normalize(lower(normalize(username, nfkc)), nfkc)), 256)
$$;

comment on function folded_account_name(text, text) is 'An account''s name as it is compared with others';

-- Finding an account by a name that is typed in another way than it was given.
create index if not exists agent_accounts_folded_account_name_idx on agent_accounts (folded_account_name(folded_name, username));

create or replace function account_named(typed text, folded text) returns bigint
language sql stable
as $$
    select
        coalesce(
            (
                select a.id
                from public.agent_accounts as a
                where a.username in (typed, normalize(typed, nfc))
                order by a.username = typed desc
                limit 1
            ),
            (
                select min(a.id)
                from public.agent_accounts as a
                where public.folded_account_name(a.folded_name, a.username) = folded
                having count(*) = 1
            )
        )
$$;

comment on function account_named(text, text) is
    'The account of a name: exactly as typed, or else the only one that folds to the same';

-- A name that is changed by hand, or by a sync, is folded here like an imported one.
create or replace function forget_folded_name() returns trigger
language plpgsql
as $$
begin
    if new.folded_name is not distinct from old.folded_name then
        new.folded_name := null;
    end if;
    return new;
end
$$;

comment on function forget_folded_name() is 'Keeps no folded name of an account that has another name now';

create or replace trigger forget_folded_name before update of username on agent_accounts
for each row when (new.username is distinct from old.username)
execute function forget_folded_name();

-- Those that are there have none until their next request.
alter table agent_sessions add column if not exists idle_at timestamptz;

comment on column agent_sessions.idle_at is 'When the session ends unless it is used before; null: until it is used next';

-- A rollback puts names and moments aside; here they come back.
do $$
begin
    if to_regclass('logins_rolled_back.names') is not null then
        -- Nobody has changed the account.
        alter table agent_accounts disable trigger set_updated_at;
        update agent_accounts as a set folded_name = names.folded_name
        from logins_rolled_back.names as names
        where a.id = names.id and a.username = names.username;
        alter table agent_accounts enable trigger set_updated_at;
        update agent_sessions as s set idle_at = moments.idle_at
        from logins_rolled_back.moments as moments
        where s.id = moments.id;
        drop schema logins_rolled_back cascade;
    end if;
end
$$;

-- Who reads the columns of a table reads the new ones too.
call grant_to_callytics_roles();
