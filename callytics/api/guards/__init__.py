"""Who and what is let in, and for how long: permits, limits, connections, and what a request may hold."""
