-- Generation 3: quality figures of a session.
-- target: quality_metrics
-- shape: quality_metrics (id, session_id, metric_name)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    metric_name,
    metric_value,
    metric_description,
    weight,
    category,
    created_at,
    metric_group
from quality_metrics
