-- Puts the import's records aside, where applying the migration again finds them: they are the proof of what was done.
alter schema imports rename to imports_rolled_back;
