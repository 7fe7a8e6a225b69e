-- transactional: false
-- depends: 0030.transcript-search-transcriptions
-- Search in utterances: where to_tsvector('simple', left(text, 100000)) @@ to_tsquery('simple', '요금:*'), as in transcriptions.

create index concurrently if not exists utterances_text_search_idx on utterances using gin (to_tsvector('simple', left(text, 100000)));
