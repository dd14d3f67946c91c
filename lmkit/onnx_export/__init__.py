"""Models as ONNX files, which onnxruntime runs without lmkit and torch, and a model that is run so."""
