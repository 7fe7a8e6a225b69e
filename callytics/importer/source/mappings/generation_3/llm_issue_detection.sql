-- Generation 3: issues found by a language model.
-- target: llm_issue_detection
-- shape: llm_issue_detection (id, llm_analysis_id, issue_type)
-- file: consultation_quality
-- reference: llm_analysis_id to llm_analysis
select
    source_rowid,
    id,
    llm_analysis_id,
    issue_type,
    issue_description,
    severity_level,
    occurrence_time,
    impact_description,
    suggested_solution,
    priority_score,
    created_at
from llm_issue_detection
