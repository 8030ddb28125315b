"""The Open Inference Protocol, version 2: an app as a model, its values as tensors.

What is a tensor, a model or a request is told here once; HTTP is in here too, gRPC is beside it and adds
nothing but its own messages.
"""
