"""What the terminal shows: tables, progress, outcomes, times; and Ctrl-C."""
