"""Operations and facts of our own, for what pyinfra's report as changed when nothing changed, show, or ignore."""
