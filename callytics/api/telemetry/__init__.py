"""What the service tells about itself: logs, metrics, and the state of its database."""
