"""The forms of a report: HTML and Markdown."""
