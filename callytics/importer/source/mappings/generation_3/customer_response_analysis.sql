-- Generation 3: the customer's responses in a session.
-- target: customer_response_analysis
-- shape: customer_response_analysis (id, session_id, response_type)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    response_type,
    response_intensity,
    response_duration,
    trigger_action,
    response_impact,
    follow_up_required,
    escalation_risk,
    response_description,
    created_at
from customer_response_analysis
