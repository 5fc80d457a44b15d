"""What a program needs around the method: console, device, files, environment; nothing here knows of photos or networks."""
