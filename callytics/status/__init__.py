"""How an installation is: one screen for everything (overview), and what its server is doing (top)."""
