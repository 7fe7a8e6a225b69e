-- Generation 3: how good a recording sounds.
-- target: audio_metrics
-- shape: audio_metrics (id, audio_file_id, snr_db)
-- file: audio_analysis
-- reference: audio_file_id to audio_files
select
    source_rowid,
    id,
    audio_file_id,
    snr_db,
    clarity_score,
    volume_level,
    background_noise_level,
    speech_rate,
    pause_frequency,
    audio_quality_score,
    created_at
from audio_metrics
