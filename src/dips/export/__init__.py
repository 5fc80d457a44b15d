"""A run as one ONNX file: written and checked with torch, run without it."""
