-- transactional: false
-- depends: 0015.index-utterances-by-audio-file
-- The conversation of a recording that generation 3 knows by path: where audio_path = … A hash, since a path may have any length.

create index concurrently if not exists utterances_audio_path_idx on utterances using hash (audio_path);
