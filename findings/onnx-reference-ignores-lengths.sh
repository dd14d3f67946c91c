#!/usr/bin/env bash
# onnx 1.23.2: the ReferenceEvaluator ignores the lengths of the sequences given to RNN, GRU and LSTM.
#
# The input sequence_lens of these operators gives the length of each sequence of a padded batch. onnxruntime 1.32.0
# stops there: the outputs after the end are 0, and Y_h is the state at the end of each sequence.
# Guess: the evaluator, which exists to show what operators mean, does the same, or refuses the input.
# So: it accepts the lengths, and reads the padding as part of the sequences. Outputs and states are those without
# lengths. An exporter tested against it alone passes with states that were read past the ends of the sentences.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.3.5
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

STEPS, ROWS, UNITS = 4, 2, 2
x = np.random.default_rng(0).normal(size=(STEPS, ROWS, 3)).astype(np.float32)


def layer(operator, gates, lengths):
    random = np.random.default_rng(1)
    shapes = {"W": (1, gates * UNITS, 3), "R": (1, gates * UNITS, UNITS), "B": (1, 2 * gates * UNITS)}
    tensors = [numpy_helper.from_array(random.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]
    names = ["X", *shapes]
    if lengths:
        tensors.append(numpy_helper.from_array(np.array(lengths, np.int32), "lengths"))
        names.append("lengths")
    node = helper.make_node(operator, names, ["Y", "Y_h"], hidden_size=UNITS)
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, list(x.shape))]
    outputs = [
        helper.make_tensor_value_info("Y", TensorProto.FLOAT, [STEPS, 1, ROWS, UNITS]),
        helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, [1, ROWS, UNITS]),
    ]
    graph = helper.make_graph([node], "layer", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


for operator, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
    model = layer(operator, gates, [4, 2])
    reference = ReferenceEvaluator(model).run(None, {"X": x})
    without = ReferenceEvaluator(layer(operator, gates, None)).run(None, {"X": x})
    runtime = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": x})
    print(f"{operator}: state of a row of length 2: {reference[1][0, 1]} (reference), {runtime[1][0, 1]} (onnxruntime)")
    assert all(np.array_equal(a, b) for a, b in zip(reference, without)), "the lengths now matter"
    assert np.allclose(runtime[1][0, 1], without[0][1, 0, 1], atol=1e-5), "onnxruntime no longer stops at the length"
    assert not runtime[0][2:, 0, 1].any() and np.abs(reference[1] - runtime[1]).max() > 0.01, "the two now agree"
PYTHON
echo "as described"
