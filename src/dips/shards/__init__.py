"""Long work split into shards that any number of processes, on any number of machines, complete with the same result."""
