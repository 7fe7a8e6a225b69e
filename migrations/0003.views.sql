-- The application's views, with counts that are right.
-- The originals joined several children of one parent at once, so that three segments and four transcriptions counted as twelve of each.
-- Here every child table is aggregated on its own, by its foreign key, before it is joined. Dates are those of UTC, as SQLite's were.
-- depends: 0002.import-ledger

-- One row a recording: how far its processing is, and how much came out of it.
create or replace view audio_processing_summary as
select
    af.id,
    af.file_name,
    af.duration_seconds,
    af.processing_status,
    af.upload_timestamp,
    af.processing_completed_at,
    coalesce(ss.speaker_segments_count, 0) as speaker_segments_count,
    coalesce(t.transcription_count, 0) as transcription_count,
    am.clarity_score,
    am.audio_quality_score,
    case
        when af.processing_completed_at is not null then 'completed'
        when af.error_message is not null then 'failed'
        else 'processing'
    end as overall_status
from audio_files as af
left join (
    select audio_file_id, count(*) as speaker_segments_count
    from speaker_segments
    group by audio_file_id
) as ss on ss.audio_file_id = af.id
left join (
    select audio_file_id, count(*) as transcription_count
    from transcriptions
    group by audio_file_id
) as t on t.audio_file_id = af.id
left join audio_metrics as am on am.audio_file_id = af.id;

-- Consultations by what they were about and how they ended.
create or replace view consultation_statistics as
select
    business_type,
    classification_type,
    consultation_result,
    count(*) as total_count,
    avg(confidence) as avg_confidence,
    avg(processing_time) as avg_processing_time,
    min(created_at) as first_analysis,
    max(created_at) as last_analysis
from consultation_analysis
group by business_type, classification_type, consultation_result;

-- Analyses a day. A file is known by its id or, in generation 3, by its path.
create or replace view daily_consultation_stats as
select
    (created_at at time zone 'UTC')::date as analysis_date,
    count(*) as total_analyses,
    count(distinct coalesce(audio_file_id::text, audio_path)) as unique_files,
    avg(confidence) as avg_confidence,
    avg(processing_time) as avg_processing_time
from consultation_analysis
group by (created_at at time zone 'UTC')::date
order by analysis_date desc;

-- A recording with its consultation analysis and its communication quality. One that was analysed again has a row for each time: the nth
-- analysis stands beside the nth quality, instead of every analysis beside every quality.
create or replace view v_integrated_consultation_analysis as
select
    af.id as audio_id,
    af.file_path,
    af.file_name,
    af.duration_seconds as duration,
    both_of.business_type,
    both_of.classification_type,
    both_of.detail_classification,
    both_of.consultation_result,
    both_of.summary,
    both_of.confidence as analysis_confidence,
    both_of.honorific_ratio,
    both_of.positive_word_ratio,
    both_of.negative_word_ratio,
    both_of.euphonious_word_ratio,
    both_of.empathy_ratio,
    both_of.apology_ratio,
    both_of.total_sentences,
    both_of.customer_sentiment_early,
    both_of.customer_sentiment_late,
    both_of.customer_sentiment_trend,
    both_of.avg_response_latency,
    both_of.task_ratio,
    both_of.suggestions,
    both_of.interruption_count,
    af.created_at
from audio_files as af
left join (
    (
        select *, row_number() over (partition by audio_file_id order by id) as nth
        from consultation_analysis
        where audio_file_id is not null
    ) as ca
    full join (
        select
            audio_file_id, honorific_ratio, positive_word_ratio, negative_word_ratio, euphonious_word_ratio, empathy_ratio,
            apology_ratio, total_sentences, customer_sentiment_early, customer_sentiment_late, customer_sentiment_trend,
            avg_response_latency, task_ratio, suggestions, interruption_count,
            row_number() over (partition by audio_file_id order by id) as nth
        from communication_quality
        where audio_file_id is not null
    ) as cq using (audio_file_id, nth)
) as both_of on both_of.audio_file_id = af.id
order by af.created_at desc;

-- The last thirty days' communication quality in one row.
create or replace view v_communication_quality_summary as
select
    count(*) as total_consultations,
    avg(honorific_ratio) as avg_honorific_ratio,
    avg(positive_word_ratio) as avg_positive_word_ratio,
    avg(negative_word_ratio) as avg_negative_word_ratio,
    avg(euphonious_word_ratio) as avg_euphonious_word_ratio,
    avg(empathy_ratio) as avg_empathy_ratio,
    avg(apology_ratio) as avg_apology_ratio,
    avg(total_sentences)::double precision as avg_total_sentences,
    avg(customer_sentiment_early) as avg_customer_sentiment_early,
    avg(customer_sentiment_late) as avg_customer_sentiment_late,
    avg(customer_sentiment_trend) as avg_customer_sentiment_trend,
    avg(avg_response_latency) as avg_response_latency,
    avg(task_ratio) as avg_task_ratio,
    avg(suggestions) as avg_suggestions,
    avg(interruption_count)::double precision as avg_interruption_count,
    min(created_at) as earliest_date,
    max(created_at) as latest_date
from communication_quality
where created_at >= (date_trunc('day', now() at time zone 'UTC') - interval '30 days') at time zone 'UTC';

-- One row a session: its scores, and how much was found about it.
create or replace view consultation_quality_summary as
select
    cs.id,
    cs.session_date,
    cs.agent_name,
    cs.consultation_type,
    cs.analysis_status,
    cs.resolution_status,
    cs.overall_quality_score,
    cs.customer_satisfaction_score,
    coalesce(qm.quality_metrics_count, 0) as quality_metrics_count,
    qm.avg_metric_value,
    coalesce(sa.sentiment_analysis_count, 0) as sentiment_analysis_count,
    sa.avg_sentiment_score,
    coalesce(cp.communication_patterns_count, 0) as communication_patterns_count,
    coalesce(su.improvement_suggestions_count, 0) as improvement_suggestions_count,
    coalesce(su.high_priority_suggestions, 0) as high_priority_suggestions
from consultation_sessions as cs
left join (
    select session_id, count(*) as quality_metrics_count, avg(metric_value) as avg_metric_value
    from quality_metrics
    group by session_id
) as qm on qm.session_id = cs.id
left join (
    select session_id, count(*) as sentiment_analysis_count, avg(sentiment_score) as avg_sentiment_score
    from sentiment_analysis
    group by session_id
) as sa on sa.session_id = cs.id
left join (
    select session_id, count(*) as communication_patterns_count
    from communication_patterns
    group by session_id
) as cp on cp.session_id = cs.id
left join (
    select
        session_id,
        count(*) as improvement_suggestions_count,
        count(*) filter (where priority = 'high') as high_priority_suggestions
    from improvement_suggestions
    group by session_id
) as su on su.session_id = cs.id;

-- One row an agent's name, over the sessions whose analysis is done.
create or replace view agent_performance_summary as
select
    agent_name,
    count(*) as total_sessions,
    avg(overall_quality_score) as avg_quality_score,
    avg(customer_satisfaction_score) as avg_satisfaction_score,
    avg(duration_minutes) as avg_session_duration,
    count(*) filter (where resolution_status = 'resolved') as resolved_sessions,
    count(*) filter (where resolution_status = 'unresolved') as unresolved_sessions,
    round(count(*) filter (where resolution_status = 'resolved') * 100.0 / count(*), 2)::double precision as resolution_rate
from consultation_sessions
where analysis_status = 'completed'
group by agent_name;

-- One row a language model run, with its newest summary and communication scores, and how much else it found.
create or replace view llm_analysis_summary as
select
    la.id,
    la.session_id,
    la.analysis_type,
    la.confidence_score,
    la.processing_time_seconds,
    la.created_at,
    lsa.overall_summary,
    lsa.resolution_status,
    coalesce(lid.issues_count, 0) as issues_count,
    coalesce(lst.sentiment_segments_count, 0) as sentiment_segments_count,
    coalesce(lir.recommendations_count, 0) as recommendations_count,
    lca.empathy_level,
    lca.professionalism_score,
    lca.clarity_score
from llm_analysis as la
left join (
    select distinct on (llm_analysis_id) llm_analysis_id, overall_summary, resolution_status
    from llm_summary_analysis
    order by llm_analysis_id, id desc
) as lsa on lsa.llm_analysis_id = la.id
left join (
    select llm_analysis_id, count(*) as issues_count
    from llm_issue_detection
    group by llm_analysis_id
) as lid on lid.llm_analysis_id = la.id
left join (
    select llm_analysis_id, count(*) as sentiment_segments_count
    from llm_sentiment_timeline
    group by llm_analysis_id
) as lst on lst.llm_analysis_id = la.id
left join (
    select llm_analysis_id, count(*) as recommendations_count
    from llm_improvement_recommendations
    group by llm_analysis_id
) as lir on lir.llm_analysis_id = la.id
left join (
    select distinct on (llm_analysis_id) llm_analysis_id, empathy_level, professionalism_score, clarity_score
    from llm_communication_analysis
    order by llm_analysis_id, id desc
) as lca on lca.llm_analysis_id = la.id;

-- One row an active agent. Sessions know their agent by name only: the original joined on consultation_sessions.agent_id, a column that
-- never existed, so it failed whenever it was asked. As in agent_performance_summary the name decides; namesakes share their sessions.
create or replace view agent_summary_view as
select
    ap.id,
    ap.employee_id,
    ap.full_name,
    ap.department,
    ap.position,
    ap.team,
    ap.experience_years,
    aa.account_status,
    aa.last_login_at,
    coalesce(cs.total_sessions, 0) as total_sessions,
    cs.avg_quality_score,
    cs.avg_satisfaction_score,
    coalesce(aph.performance_evaluations, 0) as performance_evaluations,
    coalesce(ath.training_completions, 0) as training_completions,
    coalesce(aal.recent_activities, 0) as recent_activities
from agent_profiles as ap
left join agent_accounts as aa on aa.id = ap.account_id
left join (
    select
        agent_name,
        count(*) as total_sessions,
        avg(overall_quality_score) as avg_quality_score,
        avg(customer_satisfaction_score) as avg_satisfaction_score
    from consultation_sessions
    group by agent_name
) as cs on cs.agent_name = ap.full_name
left join (
    select agent_id, count(*) as performance_evaluations
    from agent_performance_history
    group by agent_id
) as aph on aph.agent_id = ap.id
left join (
    select agent_id, count(*) as training_completions
    from agent_training_history
    where completion_status = 'completed'
    group by agent_id
) as ath on ath.agent_id = ap.id
left join (
    select agent_id, count(*) as recent_activities
    from agent_activity_logs
    where created_at >= (date_trunc('day', now() at time zone 'UTC') - interval '30 days') at time zone 'UTC'
    group by agent_id
) as aal on aal.agent_id = ap.id
where ap.is_active;

-- An agent's evaluations day by day.
create or replace view agent_performance_trends as
select
    agent_id,
    evaluation_date as date,
    avg(performance_score) as avg_performance,
    avg(quality_score) as avg_quality,
    avg(customer_satisfaction_score) as avg_satisfaction,
    avg(resolution_rate) as avg_resolution_rate,
    count(*) as evaluation_count
from agent_performance_history
group by agent_id, evaluation_date
order by agent_id, evaluation_date desc;

-- One row a session, with the finer assessments summed up.
create or replace view enhanced_quality_summary as
select
    cs.id as session_id,
    cs.agent_name,
    cs.consultation_type,
    cs.overall_quality_score,
    cs.duration_minutes,
    coalesce(st.sentiment_segments_count, 0) as sentiment_segments_count,
    st.avg_sentiment_score,
    coalesce(st.angry_segments, 0) as angry_segments,
    coalesce(st.satisfied_segments, 0) as satisfied_segments,
    coalesce(dqm.detailed_metrics_count, 0) as detailed_metrics_count,
    dqm.avg_metric_value,
    coalesce(dqm.critical_metrics_count, 0) as critical_metrics_count,
    coalesce(cpa.communication_patterns_count, 0) as communication_patterns_count,
    cpa.avg_pattern_effectiveness,
    coalesce(cpha.consultation_phases_count, 0) as consultation_phases_count,
    cpha.avg_phase_quality,
    coalesce(aba.agent_behaviors_count, 0) as agent_behaviors_count,
    aba.avg_behavior_effectiveness,
    coalesce(cra.customer_responses_count, 0) as customer_responses_count,
    cra.avg_response_intensity,
    coalesce(cra.high_escalation_risk_count, 0) as high_escalation_risk_count
from consultation_sessions as cs
left join (
    select
        session_id,
        count(*) as sentiment_segments_count,
        avg(sentiment_score) as avg_sentiment_score,
        count(*) filter (where dominant_emotion = 'angry') as angry_segments,
        count(*) filter (where dominant_emotion = 'satisfied') as satisfied_segments
    from sentiment_timeline
    group by session_id
) as st on st.session_id = cs.id
left join (
    select
        session_id,
        count(*) as detailed_metrics_count,
        avg(metric_value) as avg_metric_value,
        count(*) filter (where is_critical) as critical_metrics_count
    from detailed_quality_metrics
    group by session_id
) as dqm on dqm.session_id = cs.id
left join (
    select session_id, count(*) as communication_patterns_count, avg(effectiveness_score) as avg_pattern_effectiveness
    from communication_pattern_analysis
    group by session_id
) as cpa on cpa.session_id = cs.id
left join (
    select session_id, count(*) as consultation_phases_count, avg(phase_quality_score) as avg_phase_quality
    from consultation_phase_analysis
    group by session_id
) as cpha on cpha.session_id = cs.id
left join (
    select session_id, count(*) as agent_behaviors_count, avg(behavior_effectiveness) as avg_behavior_effectiveness
    from agent_behavior_analysis
    group by session_id
) as aba on aba.session_id = cs.id
left join (
    select
        session_id,
        count(*) as customer_responses_count,
        avg(response_intensity) as avg_response_intensity,
        count(*) filter (where escalation_risk > 0.7) as high_escalation_risk_count
    from customer_response_analysis
    group by session_id
) as cra on cra.session_id = cs.id;

-- How a speaker's sentiment moved from one stretch of a session to the next.
create or replace view sentiment_trend_analysis as
select
    session_id,
    speaker_type,
    time_start,
    time_end,
    dominant_emotion,
    sentiment_score,
    emotion_intensity,
    lag(sentiment_score) over spoken as previous_sentiment,
    sentiment_score - lag(sentiment_score) over spoken as sentiment_change,
    case
        when sentiment_score - lag(sentiment_score) over spoken > 0.2 then 'improved'
        when sentiment_score - lag(sentiment_score) over spoken < -0.2 then 'worsened'
        else 'stable'
    end as sentiment_trend
from sentiment_timeline
window spoken as (partition by session_id, speaker_type order by time_start)
order by session_id, speaker_type, time_start;
