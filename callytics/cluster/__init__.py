"""A cluster of three database hosts: who leads, who follows, what is wrong, and how to let another member lead."""
