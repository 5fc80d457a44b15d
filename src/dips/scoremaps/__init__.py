"""From a score map to objects: thresholds, components, tiles, run lengths, outlines. NumPy and OpenCV only."""
