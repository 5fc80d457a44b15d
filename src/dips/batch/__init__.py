"""Work on very many photos, for any number of processes: what each of them has to open, and what it then does."""
