-- Columns that keep themselves: updated_at, and agent_teams.team_size.
-- An import brings both as they were, so nothing here fires in a session that has set callytics.importing = 'on'.
-- depends: 0003.views

-- A busy table makes this migration give up and be tried again, instead of making everybody wait behind it.
set local lock_timeout = '3s';

create or replace function set_updated_at() returns trigger
language plpgsql
as $$
begin
    new.updated_at := now();
    return new;
end
$$;

create or replace trigger set_updated_at before update on audio_files
for each row when (current_setting('callytics.importing', true) is distinct from 'on') execute function set_updated_at();

create or replace trigger set_updated_at before update on communication_quality
for each row when (current_setting('callytics.importing', true) is distinct from 'on') execute function set_updated_at();

create or replace trigger set_updated_at before update on consultation_sessions
for each row when (current_setting('callytics.importing', true) is distinct from 'on') execute function set_updated_at();

create or replace trigger set_updated_at before update on llm_analysis
for each row when (current_setting('callytics.importing', true) is distinct from 'on') execute function set_updated_at();

create or replace trigger set_updated_at before update on agent_accounts
for each row when (current_setting('callytics.importing', true) is distinct from 'on') execute function set_updated_at();

create or replace trigger set_updated_at before update on agent_profiles
for each row when (current_setting('callytics.importing', true) is distinct from 'on') execute function set_updated_at();

create or replace trigger set_updated_at before update on agent_settings
for each row when (current_setting('callytics.importing', true) is distinct from 'on') execute function set_updated_at();

-- The original had the column but forgot the trigger.
create or replace trigger set_updated_at before update on agent_teams
for each row when (current_setting('callytics.importing', true) is distinct from 'on') execute function set_updated_at();

-- The team's row is locked before its members are counted, so that two memberships added at once are both counted. A member who changes
-- teams is counted in both, in the order of their ids, so that two changes at once cannot lock each other out. The original knew neither
-- that nor deleted memberships.
create or replace function count_team_members() returns trigger
language plpgsql
as $$
declare
    team bigint;
begin
    for team in
        select id
        from agent_teams
        where id in (case when tg_op <> 'DELETE' then new.team_id end, case when tg_op <> 'INSERT' then old.team_id end)
        order by id
        for no key update
    loop
        update agent_teams
        set team_size = (select count(*) from agent_team_memberships where team_id = team and is_active)
        where id = team;
    end loop;
    return null;
end
$$;

create or replace trigger count_team_members after insert or delete or update of team_id, is_active on agent_team_memberships
for each row when (current_setting('callytics.importing', true) is distinct from 'on') execute function count_team_members();
