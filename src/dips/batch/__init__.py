"""Work on very many photos, by any number of processes."""
