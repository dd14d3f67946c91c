#!/usr/bin/env bash
# tract 0.23.9 (onnx 1.23.2): an ONNX layer with direction="reverse" runs forward.
#
# RNN, GRU and LSTM of ONNX have the attribute direction: forward (the default), reverse or bidirectional.
# Guess: tract reads the sequence from its end, or refuses the layer.
# So: it reads from the start, without a warning: the outputs are those of direction="forward" with the same weights.
# The second half of direction="bidirectional" is right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tract==0.23.9 onnx==1.23.2 numpy==2.3.5
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import tract
from onnx import TensorProto, helper, numpy_helper

STEPS, UNITS = 4, 2
random = np.random.default_rng(0)
x = random.normal(size=(STEPS, 1, 3)).astype(np.float32)


def run(operator, gates, direction, x):
    weights = np.random.default_rng(1)
    directions = 2 if direction == "bidirectional" else 1
    shapes = {"W": (gates * UNITS, 3), "R": (gates * UNITS, UNITS), "B": (2 * gates * UNITS,)}
    one = {name: weights.normal(size=(1, *shape)).astype(np.float32) for name, shape in shapes.items()}
    tensors = [numpy_helper.from_array(np.concatenate([value] * directions), name) for name, value in one.items()]
    states = ["", "h", "c"] if operator == "LSTM" else ["", "h"]
    zeros = np.zeros((directions, 1, UNITS), np.float32)
    tensors += [numpy_helper.from_array(zeros, name) for name in states[1:]]
    node = helper.make_node(operator, ["X", "W", "R", "B", *states], ["Y"], hidden_size=UNITS, direction=direction)
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, list(x.shape))]
    outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [STEPS, directions, 1, UNITS])]
    graph = helper.make_graph([node], "layer", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "layer.onnx")
    return tract.onnx().load("layer.onnx").into_model().into_runnable().run([x])[0].to_numpy()


for operator, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
    forward, reverse = run(operator, gates, "forward", x), run(operator, gates, "reverse", x)
    wanted = run(operator, gates, "forward", x[::-1].copy())[::-1]
    both = run(operator, gates, "bidirectional", x)
    wrong, same = np.abs(reverse - wanted).max(), np.abs(reverse - forward).max()
    print(f"{operator}: reverse is {same:.1e} from forward and {wrong:.2f} from the reversed sequence read forward")
    assert same < 1e-6 < 0.05 < wrong, "reverse no longer runs forward"
    assert np.abs(both[:, 1:] - wanted).max() < 1e-5, "the second half of bidirectional has changed"
PYTHON
echo "as described"
