-- Takes the triggers and their functions away; what they wrote stays.
set local lock_timeout = '3s';

drop trigger if exists count_team_members on agent_team_memberships;
drop trigger if exists set_updated_at on agent_teams;
drop trigger if exists set_updated_at on agent_settings;
drop trigger if exists set_updated_at on agent_profiles;
drop trigger if exists set_updated_at on agent_accounts;
drop trigger if exists set_updated_at on llm_analysis;
drop trigger if exists set_updated_at on consultation_sessions;
drop trigger if exists set_updated_at on communication_quality;
drop trigger if exists set_updated_at on audio_files;
drop function if exists count_team_members();
drop function if exists set_updated_at();
