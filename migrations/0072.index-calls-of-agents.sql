-- transactional: false
-- depends: 0071.watching
-- The recordings of some agents, which every search of a reader who does not see all calls begins with:
-- select audio_file_id from consultation_sessions where agent_name = any(…), answered by the index alone.

create index concurrently if not exists consultation_sessions_calls_of_agents_idx
on consultation_sessions (agent_name, audio_file_id);
