-- Generation 3: style of communication by a language model.
-- target: llm_communication_analysis
-- shape: llm_communication_analysis (id, llm_analysis_id, communication_style)
-- file: consultation_quality
-- reference: llm_analysis_id to llm_analysis
select
    source_rowid,
    id,
    llm_analysis_id,
    communication_style,
    empathy_level,
    professionalism_score,
    clarity_score,
    responsiveness_score,
    active_listening_score,
    problem_solving_approach,
    customer_engagement_level,
    communication_breakdowns,
    strengths_identified,
    areas_for_improvement,
    created_at
from llm_communication_analysis
