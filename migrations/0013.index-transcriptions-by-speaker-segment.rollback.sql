-- transactional: false
-- Takes this index away.
drop index concurrently if exists transcriptions_speaker_segment_id_idx;
