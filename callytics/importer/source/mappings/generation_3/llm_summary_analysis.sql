-- Generation 3: summary by a language model.
-- target: llm_summary_analysis
-- shape: llm_summary_analysis (id, llm_analysis_id, overall_summary)
-- file: consultation_quality
-- reference: llm_analysis_id to llm_analysis
select
    source_rowid,
    id,
    llm_analysis_id,
    overall_summary,
    key_points,
    customer_concerns,
    agent_actions,
    resolution_status,
    satisfaction_indicators,
    created_at
from llm_summary_analysis
