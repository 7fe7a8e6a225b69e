-- transactional: false
-- Takes these indexes away.
drop index concurrently if exists llm_communication_analysis_llm_analysis_id_idx;
drop index concurrently if exists llm_improvement_recommendations_llm_analysis_id_idx;
drop index concurrently if exists llm_sentiment_timeline_llm_analysis_id_idx;
drop index concurrently if exists llm_issue_detection_llm_analysis_id_idx;
drop index concurrently if exists llm_summary_analysis_llm_analysis_id_idx;
drop index concurrently if exists llm_analysis_created_at_idx;
drop index concurrently if exists llm_analysis_session_id_idx;
