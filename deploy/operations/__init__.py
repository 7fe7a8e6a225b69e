"""Our own operations and facts, where pyinfra's can't tell a change from none, show secrets or ignore errors."""
