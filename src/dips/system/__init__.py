"""What any program needs: console, device, files, records, environment; nothing here knows of photos or networks."""
