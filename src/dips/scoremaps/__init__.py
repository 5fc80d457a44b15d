"""From a score map to objects: thresholds, components, boxes, masks, outlines; and maps of photos seen in tiles."""
