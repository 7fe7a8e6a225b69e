"""What a database consists of, and what the migrations make of an empty one."""
