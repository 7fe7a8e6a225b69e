-- Takes all tables away. Nobody's calls are deleted by it: when any table holds a row, all of them move to the schema
-- rolled_back, and the next apply brings them back. Who wants them gone drops that schema.
do $$
declare
    ours constant text[] := array[
        'topics', 'audio_files', 'audio_features', 'speaker_segments', 'transcriptions', 'audio_metrics',
        'processing_logs', 'business_type_codes', 'classification_type_codes',
        'detail_classification_codes', 'utterances', 'consultation_analysis', 'communication_quality',
        'communication_quality_details', 'consultation_sessions', 'quality_metrics', 'sentiment_analysis',
        'communication_patterns', 'improvement_suggestions', 'consultation_keywords', 'agent_performance',
        'analysis_history', 'llm_analysis', 'llm_summary_analysis', 'llm_issue_detection',
        'llm_sentiment_timeline', 'llm_improvement_recommendations', 'llm_communication_analysis',
        'agent_accounts', 'agent_profiles', 'agent_permissions', 'agent_performance_history',
        'agent_training_history', 'agent_activity_logs', 'agent_settings', 'agent_teams',
        'agent_team_memberships', 'sentiment_timeline', 'detailed_quality_metrics',
        'communication_pattern_analysis', 'consultation_phase_analysis', 'agent_behavior_analysis',
        'customer_response_analysis'
    ];
    present text[] := array(select format('public.%I', name) from unnest(ours) as name where to_regclass('public.' || name) is not null);
    one text;
    filled boolean := false;
begin
    foreach one in array present loop
        execute format('select %L or exists (select from %s %s)', filled, one, case when one = 'public.topics' then 'where id <> 1' end)
        into filled;
    end loop;
    if filled then
        create schema rolled_back;
        foreach one in array present loop
            execute format('alter table %s set schema rolled_back', one);
        end loop;
    elsif present <> '{}' then
        execute 'drop table ' || array_to_string(present, ', ');
    end if;
end
$$;
