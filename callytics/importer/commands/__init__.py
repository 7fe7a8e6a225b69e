"""One command each: from files and settings to an outcome."""
