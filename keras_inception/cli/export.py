"""`keras-inception export`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_inception.cli.options import Check, DataDir, LabelOffset, SkipBroken
from keras_inception.cli.quiet import needs_keras


@needs_keras
def export(
    model: Annotated[
        str, typer.Option(help="A run folder, a .keras file, or an id of public weights.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="File (.tflite, .onnx) or folder (SavedModel, OpenVINO) to write."),
    ],
    form: Annotated[
        str,
        typer.Option("--format", help="'tf_saved_model', 'litert', 'onnx' or 'openvino'."),
    ] = "tf_saved_model",
    precision: Annotated[
        str,
        typer.Option(
            help="'float32'; 'bfloat16' (SavedModel); 'float16' or 'int8' (the other formats)."
        ),
    ] = "float32",
    fold: Annotated[
        bool, typer.Option(help="Fold batch normalisations into the convolutions.")
    ] = True,
    raw_images: Annotated[
        bool,
        typer.Option(
            "--raw-images",
            help="Put the preprocessing inside: the file takes uint8 images, and resizes, crops "
            "and scales them itself.",
        ),
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Images of every call. Default: any number.", min=1)
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="For int8: data as for `train`, whose training images are used."),
    ] = None,
    skip_broken: SkipBroken = False,
    check: Check = True,
    label_offset: LabelOffset = 0,
    data_dir: DataDir = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Largest difference from the model, as a share of its largest output."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what stands at --out.")
    ] = False,
) -> None:
    """Write a network as a file for other programs, and check it there."""
    from keras_inception import data, jobs
    from keras_inception.inference.export import export as export_model
    from keras_inception.weights import list_weights

    trained = jobs.load_trained(model)
    images = None
    if calibration is not None:
        images = data.load(
            calibration,
            seed=trained.seed or 0,
            skip_broken=skip_broken,
            check=check,
            label_offset=label_offset,
            data_dir=data_dir,
        ).train
    done = export_model(
        trained.model,
        out,
        format=form,
        precision=precision,
        fold=fold,
        preprocessing=trained.preprocessing,
        include_preprocessing=raw_images,
        batch_size=batch_size,
        calibration=images,
        class_names=trained.class_names,
        weights_id=model if model in {entry.id for entry in list_weights()} else None,
        tolerance=tolerance,
        overwrite=overwrite,
    )
    typer.echo(
        f"{done.path} written, {done.size_bytes / 1e6:.1f} MB. In its own runtime it differs from "
        f"the model by {done.difference:.1e} of the largest output (bound {done.bound:g})."
    )
