"""Long work cut into shards that any number of processes do, on any number of machines, with one result."""
