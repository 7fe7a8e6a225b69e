"""The target compared with snapshots: what is found, and what it means."""
