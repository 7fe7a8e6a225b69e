"""The pool of sessions: who waits, who has one, what is open in it, and how it is given back."""
