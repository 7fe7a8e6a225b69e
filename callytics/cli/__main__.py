"""``python -m callytics.cli`` is the command, where it is not on the path."""

from callytics.cli import main

main()
