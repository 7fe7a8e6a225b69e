-- transactional: false
-- Takes this index away.
drop index concurrently if exists utterances_text_search_idx;
