"""General utilities: console, device, files, records, environment; nothing here knows about photos or networks."""
