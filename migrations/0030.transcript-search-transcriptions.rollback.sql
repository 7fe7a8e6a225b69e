-- transactional: false
-- Takes this index away.
drop index concurrently if exists transcriptions_text_content_search_idx;
