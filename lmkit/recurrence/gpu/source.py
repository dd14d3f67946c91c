"""Write a gated cell's step as two Triton kernels, each of which walks a whole window.

The programs of a kernel share the work of a window: each has BB rows of the batch and HB units, for all steps. A step
needs the output of all units, so the programs of the same rows meet once a step, and once more wherever `gates` need
all units: for a total or a product. What a program gives to the others goes through memory:

    panel       the tiles that a product multiplies, (2, batch, K); steps use its two halves in turns
    parts       what each program adds to a total, (totals, 2, programs of the same rows, batch)

A half is written again two steps later, after a meeting that everybody reaches only when its readers are done.
"""

from collections.abc import Sequence

import torch

from lmkit.recurrence.gpu.tiles import Compute, Load, NoTilesError, Product, Statement, Steps, Tile
from lmkit.recurrence.gpu.writer import Kernel, Layout, Writer, full

RECURRENT = "weight_hh"
"""The weight of the panel of the engine's own product."""


def forward_kernel(steps: Steps, layout: Layout) -> Kernel:
    """Reads x (time, batch, G), state{i} (time + 1, batch, ...) of step 0, initial{i}; writes state{i} and kept.

    kept: (time, batch, G), the product W_hh y, or of a summed step x + W_hh y.
    """
    writer = Writer("forward", layout)
    tiles = layout.state_tiles()
    for part, tile in tiles:
        writer.head(f"s{part}_{tile} = {writer.state('state', part, tile, '0')}")
    writer.head("if RESET:")
    for part, tile in tiles:
        writer.head(f"    i{part}_{tile} = {writer.state('initial', part, tile, '0')}")
    writer.body("if RESET:")
    writer.body(f"    reset = {_reset('t')}")
    for part, tile in tiles:
        writer.body(f"    s{part}_{tile} = tl.where(reset, i{part}_{tile}, s{part}_{tile})")
    statements, kept = _with_product(steps.statements, layout)

    def read(load: Load) -> str:
        if load.source == "x":
            return writer.loaded("x", "t", layout.gates, load.first, load.stride)
        return _register(load, layout)

    writer.statements(statements, read)
    for tile, load in kept:
        writer.body(writer.stored("kept", "t", layout.gates, load.first, load.stride, tile))
    for part, values in enumerate(steps.outputs):
        for tile, value in enumerate(values):
            writer.body(f"n{part}_{tile} = {full(value)}")
    for part, tile in tiles:
        writer.body(f"s{part}_{tile} = n{part}_{tile}")
        writer.body(writer.stored_state("state", part, tile, "t + 1", f"s{part}_{tile}"))
    pointers = ["x", "kept", *_each("state", layout), *_each("initial", layout)]
    return writer.kernel(["for t in range(T):"], pointers)


def backward_kernel(steps: Steps, layout: Layout) -> Kernel:
    """Reads x, kept, state{i}, initial{i}, d_ys (time, batch, ...), last{i}; writes d_x, d_h, d_new{i} and the rest.

    last{i}, d_start{i}, d_initial{i}: gradients of the last state, of the first and of the initial state in the rows
    that were reset. d_x, d_h: (time, batch, G). d_new{i}: (time, batch, ...), of the state after each step, in all.
    The graph's outputs are the gradients of x, h, the first part of the state and the rest, as far as there are any.
    """
    writer = Writer("backward", layout)
    tiles = layout.state_tiles()
    outputs = iter(steps.outputs)
    d_x = next(outputs)
    d_h = next(outputs) if layout.separate else d_x
    carried = [*([] if layout.reads_output else [[0.0] * layout.states[0]]), *outputs]
    for part, tile in tiles:
        writer.head(f"c{part}_{tile} = {writer.state('last', part, tile, '0')}")
        writer.head(f"n{part}_{tile} = blank")
    panel = None
    if layout.recurrent:
        places = torch.arange(layout.gates * layout.units**2).view(1, -1, layout.units)
        panel = writer.panel(layout.gates, RECURRENT, places)

    def start(at: str, turn: str) -> list[str]:
        """What reaches the state before the step `at`, after which it belongs to the state after the step before."""
        lines = []
        if panel is not None:
            lines += [
                *writer.meeting(turn, 0),
                *writer.product(panel, ["p"], f"({turn}) % 2"),
                "c0_0 = c0_0 + p",
            ]
        lines += ["if RESET:", f"    reset = {_reset(at, f'real_rows & (rows * 0 + {at} < T)')}"]
        for part, tile in tiles:
            name = f"{part}_{tile}"
            lines.append(f"    n{name} = n{name} + tl.where(reset, c{name}, 0.0)")
            lines.append(f"    c{name} = tl.where(reset, 0.0, c{name})")
        return lines

    writer.body(*start("t + 1", "back"))
    for tile in range(layout.states[0]):
        read_d = writer.loaded("d_ys", "t", layout.states[0], tile * layout.units, 1)
        writer.body(f"c0_{tile} = c0_{tile} + {read_d}")
    for part, tile in tiles if layout.trained else ():
        writer.body(writer.stored_state("d_new", part, tile, "t", f"c{part}_{tile}"))
    writer.body("if RESET:", f"    reset = {_reset('t')}")

    def read(load: Load) -> str:
        kind = load.source
        if kind in ("x", "product"):
            source = "kept" if kind == "product" or layout.summed else "x"
            return writer.loaded(source, "t", layout.gates, load.first, load.stride)
        return "blank" if kind in ("d_gates", "d_product") else _register(load, layout)

    for part, tile in tiles:
        name = f"s{part}_{tile}"
        writer.body(f"{name} = {writer.state('state', part, tile, 't')}", "if RESET:")
        writer.body(f"    {name} = tl.where(reset, {writer.state('initial', part, tile, '0')}, {name})")
    writer.statements(steps.statements, read)
    for name, values in (("d_x", d_x), *([("d_h", d_h)] if layout.separate else [])):
        for gate, value in enumerate(values):
            writer.body(writer.stored(name, "t", layout.gates, gate * layout.units, 1, full(value)))
    if panel is not None:
        writer.body(*writer.shared(panel, d_h, "(back + 1) % 2"))
    for part, values in enumerate(carried):
        for tile, value in enumerate(values):
            writer.body(f"m{part}_{tile} = {full(value)}")
    for part, tile in tiles:
        writer.body(f"c{part}_{tile} = m{part}_{tile}")
    writer.tail(*start("0", "T"))
    for part, tile in tiles:
        for name, value in (("d_start", f"c{part}_{tile}"), ("d_initial", f"n{part}_{tile}")):
            writer.tail(writer.stored_state(name, part, tile, "0", value))
    names = ("state", "initial", "last", "d_start", "d_initial", *(["d_new"] if layout.trained else []))
    pointers = ["x", "kept", "d_ys", "d_x", "d_h", *(p for name in names for p in _each(name, layout))]
    return writer.kernel(["for back in range(T):", "    t = T - 1 - back"], pointers)


def _each(name: str, layout: Layout) -> list[str]:
    return [f"{name}{part}" for part in range(len(layout.states))]


def _reset(at: str, mask: str = "real_rows") -> str:
    """Whether each row is reset before a step."""
    return f"tl.load(resets + ({at}) * B + rows, mask={mask}, other=0)[:, None] != 0"


def _register(load: Load, layout: Layout) -> str:
    """The variable that has a tile of the state (s), or of its gradient (c).

    Raises NoTilesError for a state that is read in another order.
    """
    kind, part = load.source[0], int(load.source[1:])
    tile, rest = divmod(load.first, layout.units)
    if load.stride != 1 or rest:
        raise NoTilesError("it changes the order of units in its state")
    return f"{kind}{part}_{tile}"


def _with_product(
    statements: Sequence[Statement], layout: Layout
) -> tuple[list[Statement], list[tuple[Tile, Load]]]:
    """The statements with the engine's product W_hh y, and the tiles to keep of it with the columns that they are."""
    if not layout.recurrent:
        return [*statements], []
    source = "product" if layout.separate else "x"
    product = Product([], (Tile("s0_0", rows=True, units=True),), RECURRENT, [])
    found: list[Statement] = [product]
    kept = []
    for statement in statements:
        if not isinstance(statement, Load) or statement.source != source:
            found.append(statement)
            continue
        out = statement.out
        columns = statement.first + statement.stride * torch.arange(layout.units)
        made = out if layout.separate else Tile(f"{out.name}_h", rows=True, units=True)
        product.outs.append(made)
        product.places.append(columns * layout.units + torch.arange(layout.units)[:, None])
        if layout.summed:
            x = Tile(f"{out.name}_x", rows=True, units=out.units)
            found += [statement._replace(out=x), Compute(out, "{0} + {1}", (x, made))]
        kept.append((out, statement))
    return found if product.outs else found[1:], kept
