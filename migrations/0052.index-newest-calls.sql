-- transactional: false
-- depends: 0051.sync-and-undo
-- The list of calls, newest first, page after page: where (coalesce(created_at, '-infinity'), id) < (…, …) order by both, descending. A call
-- whose time nobody knows comes last, and the id tells calls of one moment apart, so that no page skips a call or shows it twice.

create index concurrently if not exists audio_files_newest_idx on audio_files (coalesce(created_at, '-infinity'::timestamptz), id);
