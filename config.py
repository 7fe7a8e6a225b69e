"""How pyinfra runs here: it reads this file before the inventory if it is started in this folder."""

from __future__ import annotations

import atexit
import os
import sys

from pyinfra import config, state

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"


def fail_without_hosts() -> None:
    """End with exit code 1 if no host was reached: pyinfra reports success for a mistyped inventory or --limit."""
    if getattr(state, "initialised", False) and not state.activated_hosts and "debug-inventory" not in sys.argv:
        sys.stderr.write(
            "Error: no host was reached: check the inventory's name, --limit, DATABASE_HOSTS and APP_HOSTS\n"
        )
        sys.stdout.flush()
        sys.stderr.flush()
        # An exception or sys.exit in an atexit handler does not change the exit code.
        os._exit(1)


atexit.register(fail_without_hosts)
