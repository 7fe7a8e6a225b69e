-- transactional: false
-- depends: 0019.index-session-details
-- Language model results: of a session, of a time, and what a run found; llm_analysis_summary; cascading deletes.
-- The sources' indexes on types, severities and priorities are left out: few values, and always asked within a run.

-- A kind of analysis of a session: where session_id = … and analysis_type = …
create index concurrently if not exists llm_analysis_session_id_idx on llm_analysis (session_id, analysis_type);

-- Runs of a time: where created_at >= …
create index concurrently if not exists llm_analysis_created_at_idx on llm_analysis (created_at);

-- The newest summary of a run.
create index concurrently if not exists llm_summary_analysis_llm_analysis_id_idx on llm_summary_analysis (llm_analysis_id, id);

create index concurrently if not exists llm_issue_detection_llm_analysis_id_idx on llm_issue_detection (llm_analysis_id);

-- The stretches in their order.
create index concurrently if not exists llm_sentiment_timeline_llm_analysis_id_idx on llm_sentiment_timeline (llm_analysis_id, time_segment_start);

create index concurrently if not exists llm_improvement_recommendations_llm_analysis_id_idx on llm_improvement_recommendations (llm_analysis_id);

-- The newest scores of a run.
create index concurrently if not exists llm_communication_analysis_llm_analysis_id_idx on llm_communication_analysis (llm_analysis_id, id);
