"""From whatever holds a network to a runtime that runs it."""

import dataclasses
import os
import tempfile
from pathlib import Path

import keras

from keras_inception.errors import InputError
from keras_inception.inference.choice import Choice, choose
from keras_inception.inference.graph import main_model
from keras_inception.inference.runtimes import Runtime, is_exported, open_runtime, runtime_of
from keras_inception.inference.trained import (
    Trained,
    class_names,
    load_trained,
    papers_preprocessing,
    with_defaults,
)
from keras_inception.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Opened:
    """A network in a runtime, with what belongs to it.

    Attributes:
        runtime: ready to run.
        name: of the network, for reports.
        preprocessing: of its images; None if the network takes them as they are.
        class_names: one a class; None if they are not known.
        reason: why it computes in its dtype.
    """

    runtime: Runtime
    name: str
    preprocessing: Preprocessing | None
    class_names: tuple[str, ...] | None
    reason: str


def opened(
    source: keras.Model | Trained | str | os.PathLike,
    runtime: str,
    dtype: str,
    batch_size: int,
    preprocessing: Preprocessing | None,
) -> Opened:
    """Open a network; arguments and errors are those of `predictor`."""
    if isinstance(source, str | os.PathLike) and is_exported(source):
        return _exported(Path(source), runtime, dtype, batch_size, preprocessing)
    if isinstance(source, keras.Model):
        trained = with_defaults(source, source.name, preprocessing)
    else:
        trained = source if isinstance(source, Trained) else load_trained(source)
    choice = choose(runtime, dtype)
    preprocessing = preprocessing or trained.preprocessing
    return Opened(
        _run(_sized(main_model(trained.model), preprocessing, choice.runtime), choice, batch_size),
        trained.name,
        preprocessing,
        trained.class_names,
        choice.reason,
    )


def _sized(model: keras.Model, preprocessing: Preprocessing, runtime: str) -> keras.Model:
    """Return the model, for a runtime that takes images of one size only, with that size."""
    if runtime != "litert" or None not in model.input_shape[1:]:
        return model
    images = keras.Input((*preprocessing.size, model.input_shape[-1]))
    return keras.Model(images, model(images), name=model.name)


def _run(model: keras.Model, choice: Choice, batch_size: int) -> Runtime:
    if choice.runtime == "tensorflow":
        from keras_inception.inference.runtimes.folded import FoldedRuntime

        return FoldedRuntime(model, dtype=choice.dtype)
    if choice.runtime == "openvino":
        from keras_inception.inference.folding import fold_batch_norm
        from keras_inception.inference.runtimes.openvino import from_keras

        return from_keras(
            fold_batch_norm(model, "float32"), dtype=choice.dtype, batch_size=batch_size
        )
    from keras_inception.inference.export import export

    form, name = {"onnxruntime": ("onnx", "model.onnx"), "litert": ("litert", "model.tflite")}[
        choice.runtime
    ]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / name
        export(model, path, format=form)
        return open_runtime(path)


def _exported(
    path: Path, runtime: str, dtype: str, batch_size: int, preprocessing: Preprocessing | None
) -> Opened:
    own = runtime_of(path)
    if runtime not in ("auto", own):
        raise InputError(
            f"{path} was exported for {own}, not for {runtime!r}; leave runtime at 'auto', or "
            "export the network again."
        )
    reason = "as asked"
    if dtype == "auto":
        dtype, reason = None, ""
        if own == "openvino":
            choice = choose(own)
            dtype, reason = choice.dtype, choice.reason
    network = open_runtime(path, dtype=dtype, batch_size=batch_size if own == "openvino" else None)
    facts = network.metadata or {}
    names = facts.get("class_names")
    if names is None and facts:
        names = class_names(facts["output"]["shape"][-1])
    preprocessing = preprocessing or _preprocessing(network, path)
    return Opened(network, str(path), preprocessing, names and tuple(names), reason)


def _preprocessing(network: Runtime, path: Path) -> Preprocessing | None:
    """Return what an exported network leaves to be done with images; None if nothing."""
    facts = network.metadata or {}
    inside = facts.get("preprocessing_inside", "all" if network.input_dtype == "uint8" else "none")
    if inside == "all":
        return None
    fields = facts.get("preprocessing")
    preprocessing = Preprocessing(**fields) if fields else _papers(network, path)
    if inside == "values":  # the file scales; what is left makes raw pixels of the right size
        return dataclasses.replace(
            preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3, channel_order="RGB"
        )
    return preprocessing


def _papers(network: Runtime, path: Path) -> Preprocessing:
    *size, channels = network.input_shape[1:]
    if channels not in (3, None):
        raise InputError(
            f"{path} takes {network.input_shape}; expected images with their three channels last, "
            "(batch, height, width, 3). Export it again with ki.export."
        )
    return papers_preprocessing(str(path), size)
