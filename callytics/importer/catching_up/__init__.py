"""What sync, undo and a change of time zones share: what differs, what is decided, what is written."""
