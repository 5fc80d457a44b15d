"""Drawing on photos: heat maps, outlines, boxes, text."""
