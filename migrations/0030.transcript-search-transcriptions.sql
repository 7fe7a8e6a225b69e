-- transactional: false
-- depends: 0022.index-agent-activity-logs
-- Search in transcriptions: where to_tsvector('simple', left(text_content, 100000)) @@ to_tsquery('simple', '요금:*').
-- PostgreSQL has no dictionary for Korean. simple keeps words as they are, and a prefix query finds them whatever particle follows: 요금:* finds
-- 요금, 요금이 and 요금제. A tsvector holds at most 1 MB and a longer one is an error, so that without left() a very long text could not be
-- stored at all; 100,000 characters, some hours of talk, never exceed it.

create index concurrently if not exists transcriptions_text_content_search_idx on transcriptions using gin (to_tsvector('simple', left(text_content, 100000)));
