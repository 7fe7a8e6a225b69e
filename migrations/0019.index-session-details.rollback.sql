-- transactional: false
-- Takes these indexes away.
drop index concurrently if exists customer_response_analysis_session_id_idx;
drop index concurrently if exists agent_behavior_analysis_session_id_idx;
drop index concurrently if exists consultation_phase_analysis_session_id_idx;
drop index concurrently if exists communication_pattern_analysis_session_id_idx;
drop index concurrently if exists detailed_quality_metrics_session_id_idx;
drop index concurrently if exists sentiment_timeline_session_id_idx;
drop index concurrently if exists analysis_history_session_id_idx;
drop index concurrently if exists agent_performance_session_id_idx;
drop index concurrently if exists consultation_keywords_session_id_idx;
drop index concurrently if exists improvement_suggestions_session_id_idx;
drop index concurrently if exists communication_patterns_session_id_idx;
drop index concurrently if exists sentiment_analysis_session_id_idx;
drop index concurrently if exists quality_metrics_session_id_idx;
