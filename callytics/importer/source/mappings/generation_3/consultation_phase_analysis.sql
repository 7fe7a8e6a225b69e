-- Generation 3: the phases of a session.
-- target: consultation_phase_analysis
-- shape: consultation_phase_analysis (id, session_id, phase_name)
-- file: consultation_quality
-- reference: session_id to consultation_sessions
select
    source_rowid,
    id,
    session_id,
    phase_name,
    phase_start_time,
    phase_end_time,
    phase_duration,
    phase_quality_score,
    phase_effectiveness_score,
    key_activities,
    challenges_encountered,
    strengths_demonstrated,
    areas_for_improvement,
    customer_satisfaction_phase,
    created_at
from consultation_phase_analysis
