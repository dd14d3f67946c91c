"""The operators of torch that have a form in ONNX, and how each is written."""

from lmkit.onnx_export import arithmetic, shapes
from lmkit.onnx_export.handlers import HANDLERS

__all__ = ["HANDLERS", "arithmetic", "shapes"]
