-- Takes the application's views away; no table is touched.
drop view if exists
audio_processing_summary, consultation_statistics, daily_consultation_stats, v_integrated_consultation_analysis,
v_communication_quality_summary, consultation_quality_summary, agent_performance_summary, llm_analysis_summary,
agent_summary_view,
agent_performance_trends, enhanced_quality_summary, sentiment_trend_analysis;
