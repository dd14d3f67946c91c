#!/usr/bin/env bash
# dm-haiku 0.0.17 (jax 0.7.2, CPU): the 1 of the LSTM's forget gate is in no parameter.
#
# The docstring of haiku.LSTM says that 1 is added to the bias of the forget gate after initialisation, as Jozefowicz
# et al. (2015) advise.
# Guess: it is in the initial values of the bias, as in other libraries, so that a layer whose parameters are all 0
# has a forget gate of sigmoid(0) = 0.5, and that weights saved by haiku mean the same in a plain LSTM.
# So: the initial bias is 0, and every call adds the 1. The forget gate of zero parameters is sigmoid(1) = 0.7311, and
# weights carried to another library forget too much until 1 is added to that bias by hand.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check dm-haiku==0.0.17 jax==0.7.2 jaxlib==0.7.2 numpy==2.3.5
"$work/venv/bin/python" - <<'PYTHON'
import math

import haiku as hk
import jax
import jax.numpy as jnp

UNITS = 2


def step(x, hidden, cell):
    _, state = hk.LSTM(UNITS)(x, hk.LSTMState(hidden, cell))
    return state.cell


network = hk.without_apply_rng(hk.transform(step))
x, zeros, ones = jnp.zeros((1, 3)), jnp.zeros((1, UNITS)), jnp.ones((1, UNITS))
parameters = network.init(jax.random.PRNGKey(0), x, zeros, zeros)
biases = [float(abs(value).max()) for name, value in jax.tree_util.tree_leaves_with_path(parameters) if value.ndim == 1]
blank = jax.tree_util.tree_map(jnp.zeros_like, parameters)
# With zero parameters the input gate times the candidate is 0: the new memory is the forget gate times the old one.
forget = float(network.apply(blank, x, zeros, ones)[0, 0])
print(f"largest initial bias: {biases}; forget gate with zero parameters: {forget:.4f}")
print(f"sigmoid(0) = 0.5, sigmoid(1) = {1 / (1 + math.exp(-1)):.4f}")
assert biases == [0.0], "the initial bias is no longer 0"
assert abs(forget - 1 / (1 + math.exp(-1))) < 1e-6, "the forget gate is no longer sigmoid(1)"
PYTHON
echo "as described"
