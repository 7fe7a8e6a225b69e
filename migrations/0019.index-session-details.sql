-- transactional: false
-- depends: 0018.index-sessions
-- A session's details: where session_id = …; consultation_quality_summary, enhanced_quality_summary; cascading deletes.
-- The sources' indexes on categories, types and statuses are left out: few values, and always asked within a session.

create index concurrently if not exists quality_metrics_session_id_idx on quality_metrics (session_id);

create index concurrently if not exists sentiment_analysis_session_id_idx on sentiment_analysis (session_id);

create index concurrently if not exists communication_patterns_session_id_idx on communication_patterns (session_id);

create index concurrently if not exists improvement_suggestions_session_id_idx on improvement_suggestions (session_id);

create index concurrently if not exists consultation_keywords_session_id_idx on consultation_keywords (session_id);

create index concurrently if not exists agent_performance_session_id_idx on agent_performance (session_id);

create index concurrently if not exists analysis_history_session_id_idx on analysis_history (session_id);

-- sentiment_trend_analysis: a speaker through a session.
create index concurrently if not exists sentiment_timeline_session_id_idx on sentiment_timeline (session_id, speaker_type, time_start);

create index concurrently if not exists detailed_quality_metrics_session_id_idx on detailed_quality_metrics (session_id);

create index concurrently if not exists communication_pattern_analysis_session_id_idx on communication_pattern_analysis (session_id);

-- The phases in their order.
create index concurrently if not exists consultation_phase_analysis_session_id_idx on consultation_phase_analysis (session_id, phase_start_time);

create index concurrently if not exists agent_behavior_analysis_session_id_idx on agent_behavior_analysis (session_id);

create index concurrently if not exists customer_response_analysis_session_id_idx on customer_response_analysis (session_id);
