"""Where pretrained weights come from, and how their files are read."""
