"""`keras-inception evaluate` and `predict`."""

import contextlib
import csv
import io
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_inception.cli.options import Check, DataDir, LabelOffset, SkipBroken, printable
from keras_inception.cli.quiet import needs_keras
from keras_inception.errors import InputError, unknown

if TYPE_CHECKING:
    from keras_inception import data, jobs

Networks = Annotated[
    list[str],
    typer.Option(
        "--model",
        help="A run folder, a .keras file, or an id of public weights; several make an ensemble.",
    ),
]
Crops = Annotated[int, typer.Option(help="1, 10, 12 or 144, as in the papers.")]


@needs_keras
def evaluate(
    model: Networks,
    data: Annotated[str, typer.Option(help="As for `train`.")],
    part: Annotated[str, typer.Option(help="'test', 'validation' or 'train' images.")] = "test",
    crops: Crops = 1,
    exclude: Annotated[
        Path | None, typer.Option(help="File with the names of images to leave out.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Crops in one pass.")] = 32,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.json, classes.csv, confusion.png.")
    ] = None,
    skip_broken: SkipBroken = False,
    check: Check = True,
    label_offset: LabelOffset = 0,
    seed: Annotated[
        int | None, typer.Option(help="Of the split. Default: that of the training.")
    ] = None,
    data_dir: DataDir = None,
    unseen: Annotated[
        bool,
        typer.Option(
            "--unseen",
            help="The images are new to the network, though their folder has the name "
            "of that which it was trained on.",
        ),
    ] = False,
) -> None:
    """Measure the error of a network, or of an ensemble, by one of the papers' protocols."""
    from keras_inception import data as datasets
    from keras_inception import evaluation, jobs
    from keras_inception.data.splits import PARTS

    if part not in PARTS:
        raise unknown("part", part, PARTS)
    networks = [jobs.load_trained(source) for source in model]
    seed = _training_seed(networks) if seed is None else seed
    dataset = datasets.load(
        data,
        seed=seed,
        skip_broken=skip_broken,
        check=check,
        label_offset=label_offset,
        data_dir=data_dir,
    )
    for network in networks:
        _check_classes(network, dataset)
        if not unseen:
            _check_split(network, dataset, part)
    report = evaluation.evaluate(
        [network.model for network in networks],
        getattr(dataset, part),
        crops,
        preprocessing=[network.preprocessing for network in networks],
        exclude=exclude,
        class_names=dataset.class_names,
        batch_size=batch_size,
        progress=True,
    )
    typer.echo(f"{'data':<12} {dataset.name}, {part} images")
    typer.echo(str(report))
    if out is not None:
        report.to_json(out / "report.json")
        report.to_csv(out / "classes.csv")
        report.confusion_picture(out / "confusion.png")
        typer.echo(f"written to {out}")


def _training_seed(networks: "list[jobs.Trained]") -> int:
    """Return the seed of the split that the networks were trained on, so that tests stay tests."""
    seeds = {network.seed for network in networks if network.seed is not None}
    if len(seeds) > 1:
        raise InputError(
            f"The networks were trained on splits of other seeds: {sorted(seeds)}. The test images "
            "of one are training images of another; train them with one seed, or say --seed."
        )
    return seeds.pop() if seeds else 0


def _check_classes(network: "jobs.Trained", dataset: "data.Dataset") -> None:
    """Refuse a dataset whose labels mean other classes than those that a run was trained on."""
    if network.seed is None:  # no run folder: nothing says what the classes are called
        return
    pairs = itertools.zip_longest(network.class_names, dataset.class_names)
    for label, (trained, found) in enumerate(pairs):
        if trained != found:
            raise InputError(
                f"{network.name} was trained on other classes than those of {dataset.name}: class "
                f"{label} is {_quoted(trained)} there and {_quoted(found)} here. Evaluate on "
                "images of the same classes."
            )


def _check_split(network: "jobs.Trained", dataset: "data.Dataset", part: str) -> None:
    """Refuse other test images than the training left out, of which it may have seen some."""
    then, now = network.splits.get(part), getattr(dataset, part).digest
    if network.dataset == dataset.name and then not in (None, now):
        raise InputError(
            f"The {part} images of {dataset.name} are others than when {network.name} was trained: "
            "images came or went, or --seed, --check, --skip-broken or --label-offset are others, "
            "and the training may have seen some of them. Bring the images back as they were, or "
            "evaluate on a folder of others; if all of these are new to the network, say --unseen."
        )


def _quoted(name: str | None) -> str:
    return "none" if name is None else repr(name)


@needs_keras
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            help="A run folder, a .keras file, an exported network, or an id of public weights; "
            "several make an ensemble.",
        ),
    ],
    crops: Crops = 1,
    top: Annotated[int, typer.Option(help="Classes to name for each image.")] = 5,
    form: Annotated[
        str, typer.Option("--format", help="'json': an object a line; or 'csv'.")
    ] = "json",
    runtime: Annotated[
        str,
        typer.Option(
            help="'tensorflow', 'onnxruntime', 'openvino', 'litert'; 'auto': that which as a rule "
            "is fastest of those installed, or what an exported network was written for."
        ),
    ] = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            help="'float32' or 'bfloat16'; 'auto': bfloat16 where the hardware has it natively."
        ),
    ] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(help="Images that are computed together. Default: 16.", min=1)
    ] = None,
) -> None:
    """Predict the classes of images; unreadable files are reported and the rest is done."""
    from keras_inception import jobs
    from keras_inception.inference.predictor import BATCH_SIZE, predictor

    if form not in _FORMS:
        raise unknown("format", form, _FORMS)
    files = jobs.image_files(images)
    batch_size = min(batch_size or BATCH_SIZE, len(files) * crops)
    with contextlib.ExitStack() as opened:
        networks = [
            opened.enter_context(predictor(source, runtime, dtype, batch_size)) for source in model
        ]
        for network in networks:
            typer.echo(network.description, err=True)
        broken = 0
        for number, answer in enumerate(jobs.predict(networks, files, crops=crops, top=top)):
            broken += answer.error is not None
            _FORMS[form](answer, first=number == 0)
    if broken:
        raise InputError(f"{broken} of {len(files)} files could not be read; see above.")


def _json(answer: "jobs.Answer", first: bool) -> None:
    said = {"classes": [{"name": n, "probability": p} for n, p in answer.classes]}
    said = said if answer.error is None else {"error": answer.error}
    typer.echo(json.dumps({"path": str(answer.path), **said}))


def _csv(answer: "jobs.Answer", first: bool) -> None:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if first:
        rows.writerow(("path", "rank", "class", "probability", "error"))
    for rank, (name, probability) in enumerate(answer.classes, 1):
        rows.writerow((printable(answer.path), rank, name, probability, ""))
    if answer.error is not None:
        rows.writerow((printable(answer.path), "", "", "", answer.error))
    typer.echo(text.getvalue(), nl=False)


_FORMS = {"json": _json, "csv": _csv}
