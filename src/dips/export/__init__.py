"""A run as one ONNX file: written and checked with torch, run without it.

With torch and the extra ``export``: ``graph`` (the networks as one module), ``onnx`` (writes and compares the file), ``int8``
(the file in 8 bits). Without torch: ``onnx_model`` (predicts; needs onnxruntime) and, with no further package, ``description``
(what a file says about itself) and ``wire`` (reads a file's metadata before anything runs it).
"""
