-- Generation 3: recommendations of a language model.
-- target: llm_improvement_recommendations
-- shape: llm_improvement_recommendations (id, llm_analysis_id, recommendation_category)
-- file: consultation_quality
-- reference: llm_analysis_id to llm_analysis
select
    source_rowid,
    id,
    llm_analysis_id,
    recommendation_category,
    recommendation_text,
    rationale,
    expected_impact,
    implementation_difficulty,
    target_audience,
    priority_level,
    cost_estimate,
    timeline_estimate,
    success_metrics,
    created_at
from llm_improvement_recommendations
