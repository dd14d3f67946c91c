"""Write the model of a run as an ONNX file: `lmkit export RUN FILE.onnx --to onnx`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmkit.errors import UsageError
from lmkit.files import check_new, new_file
from lmkit.neural.output import OutputLayer
from lmkit.onnx_export.checks import Reference, check_declared, check_steps, check_window
from lmkit.onnx_export.encoder_checks import EncoderSession, check_encoder
from lmkit.onnx_export.encoder_form import write_encoder
from lmkit.onnx_export.facts import facts_of
from lmkit.onnx_export.forms import Leaf, leaves_of, write_form
from lmkit.onnx_export.graph import onnx
from lmkit.onnx_export.options import ENCODER, FLOAT32, INT8, STEP, WINDOW, OnnxOptions
from lmkit.onnx_export.sessions import Session
from lmkit.onnx_export.tracing import NotExportableError
from lmkit.recurrence import BidirectionalEncoder, NeuralLanguageModel
from lmkit.runs import LoadedRun

LARGEST = 2_000_000_000
"""Bytes of the weights: an ONNX file has fewer than 2^31."""


def write(run: LoadedRun, file: Path, *, overwrite: bool = False, options: OnnxOptions | None = None) -> None:
    """Write a form of the model to `file`, once it agrees with the model.

    Raises UsageError when the file exists, a library is missing or the model cannot be written as ONNX, ModelError
    when what was written is not the same model.
    """
    check_new(file, overwrite=overwrite)
    options = options or OnnxOptions()
    if isinstance(run.model, BidirectionalEncoder):
        made = _encoder_of(run, run.model, options)
    elif options.form == WINDOW:
        if options.weights == INT8:
            raise UsageError("--weights int8 is for generation, a step a call: leave out --form window")
        made = window_model(run)
    else:
        made = step_model(run, options.weights)
    with new_file(file, overwrite=overwrite) as target:
        target.write(made)


def step_model(run: LoadedRun, weights: str = FLOAT32) -> bytes:
    """The checked model of one step, for generation."""
    model = exportable(run)
    leaves = leaves_of(model)
    made = _made(run, model, STEP, leaves, [_output_weight(run, model)] if weights == INT8 else [])
    check_steps(Reference(model, leaves), Session(made, leaves), exact=weights == FLOAT32)
    return made


def window_model(run: LoadedRun) -> bytes:
    """The checked model of a window of any length, for scores."""
    model = exportable(run)
    leaves = leaves_of(model)
    made = _made(run, model, WINDOW, leaves, [])
    step = Session(_made(run, model, STEP, leaves, []), leaves)
    check_window(Reference(model, leaves), Session(made, leaves), step)
    return made


def _encoder_of(run: LoadedRun, model: BidirectionalEncoder, options: OnnxOptions) -> bytes:
    """The checked model of an encoder; UsageError for an option of causal models."""
    if options.form is not None or options.weights == INT8:
        raise UsageError(
            f"{run.directory} holds an encoder; --form and --weights int8 are for causal models: leave them out"
        )
    _check_size(run)
    model.place(torch.device("cpu"))
    made = _finished(run, lambda: write_encoder(model), ENCODER)
    check_encoder(model, EncoderSession(made, model))
    return made


def exportable(run: LoadedRun) -> NeuralLanguageModel:
    """The model of a run, ready to compute on the CPU; UsageError if there is no ONNX file for its kind."""
    model, kind = run.model, run.model_choice.name
    if not isinstance(model, NeuralLanguageModel):
        raise UsageError(
            f"{run.directory} holds a model {kind}; ONNX files are for causal neural models, such as recurrent ones "
            "and window models, and for bidirectional encoders: choose another --to"
        )
    if model.int8:
        raise UsageError(f"{run.directory} was loaded with int8 weights of torch; load it without int8")
    _check_size(run)
    return model.place(torch.device("cpu"))


def _check_size(run: LoadedRun) -> None:
    if run.model.parameter_count() * 4 > LARGEST:
        raise UsageError(
            f"{run.directory} has more weights than an ONNX file takes (2 GB): export a smaller model"
        )


def _output_weight(run: LoadedRun, model: NeuralLanguageModel) -> Tensor:
    """The weight of the output layer; UsageError if it is not one product."""
    if type(model.output).logits is not OutputLayer.logits:
        raise UsageError(
            f"{run.directory}: --weights int8 is for an output layer with one product, softmax or sampled, not "
            f"{type(model.output).__name__}; leave it out"
        )
    return model.output.weight


def _made(
    run: LoadedRun, model: NeuralLanguageModel, form: str, leaves: list[Leaf], in_int8: list[Tensor]
) -> bytes:
    """The file of a form; UsageError if the model has what ONNX lacks."""
    weights = INT8 if in_int8 else FLOAT32
    return _finished(run, lambda: write_form(model, form, leaves, in_int8), form, weights, leaves)


def _finished(
    run: LoadedRun, make: Callable[[], Any], form: str, weights: str = FLOAT32, leaves: Sequence[Leaf] = ()
) -> bytes:
    """The file of the ONNX model that `make` gives, with the facts about the run."""
    try:
        proto = make()
    except NotExportableError as error:
        raise UsageError(
            f"{run.directory} cannot be written as ONNX: {error}; choose another --to"
        ) from error
    onnx.helper.set_model_props(proto, facts_of(run, form, weights, leaves))
    check_declared(proto, form)
    return proto.SerializeToString()
