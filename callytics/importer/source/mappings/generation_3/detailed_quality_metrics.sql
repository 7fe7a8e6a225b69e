-- Generation 3: detailed quality figures of a session.
-- target: detailed_quality_metrics
-- shape: detailed_quality_metrics (id, session_id, metric_category)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    metric_category,
    metric_subcategory,
    metric_name,
    metric_value,
    metric_unit,
    metric_description,
    measurement_method,
    weight,
    threshold_min,
    threshold_max,
    is_critical,
    created_at
from detailed_quality_metrics
