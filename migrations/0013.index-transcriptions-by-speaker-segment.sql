-- transactional: false
-- depends: 0012.index-transcriptions-by-audio-file
-- Transcriptions of a segment: where speaker_segment_id = …; cascading deletes.

create index concurrently if not exists transcriptions_speaker_segment_id_idx on transcriptions (speaker_segment_id);
