"""Write docs/weights.md from the manifest: `python docs/render_weights.py`."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from keras_inception.preprocessing import Preprocessing
from keras_inception.weights.manifest import Accuracy, Checkpoint, Manifest, manifest

PAGE = Path(__file__).with_name("weights.md")
SHOWN = ("ImageNet 2012 validation", "LFW")

INTRODUCTION = """\
# Public weights

Generated from `weights_manifest.json` by `python docs/render_weights.py`; change that file.
Everything here is as the publishers and the named third parties state it, measured by none of us;
the manifest names the source of each fact, and what nobody states is left open.
The same facts from Python: `ki.list_weights("InceptionV3")`, `ki.weights.info(id)`,
`ki.preprocessing(id)`; on the command line: `keras-inception weights list`.

An entry is one file, and what stands in it is of that file: of a checksum, its bytes; of a score,
its numbers. Left out is what publishers state of other files under the same name: osmr's Gluon,
TensorFlow 2 and Chainer files, trained or scored apart from his PyTorch ones, timm's former `.pth`
and `.bin` files, FaceNet's frozen graphs, and the other opsets and precisions of the ONNX zoo. Two
scores were measured on a port of the file, and say so.
"""

DEFAULTS = """\
## What `weights="imagenet"` loads

Chosen by the checksums known, the licence, and how few other packages are needed.
"""

SUPPORTED = """\
## Weights that are supported

Any id here is a legal `weights=...`. The architecture is chosen accordingly. "Heads" says whether
tensors of auxiliary heads are inside; "bg" marks a background class in front, which is dropped
where the model has one class less. Formats: a TensorFlow 1 checkpoint, Keras HDF5, safetensors and
caffemodel are read as they are; torch and ONNX files need the extra of that name. "By hand": only a
browser gets the file; put it in [the cache folder](#where-the-files-are) as the error says.

A download is compared with its checksum before it is read ("inside": of the file in the archive).
Where the table says "none", its size is compared if that is known, a warning says so, and the
SHA-256 of the first download is kept beside it and compared from then on.
"""

CACHE = """\
## Where the files are

| variable | what it sets |
| --- | --- |
| `KERAS_INCEPTION_HOME` | the cache folder; by default `keras_inception` in the folder of Keras, \
which is `KERAS_HOME` or `~/.keras` |
| `KERAS_INCEPTION_MIRROR` | a base URL, http or https, that is tried before the publisher's |
| `KERAS_INCEPTION_OFFLINE` | `1`: nothing is downloaded, and what is not in the cache folder is \
an error; `0`, or unset: downloads are allowed |

They are read whenever weights are asked for. The cache folder holds the downloads, each named by
its id and the usual ending, such as `keras.inception_v3.h5` or `bvlc.googlenet.caffemodel`; what
was unpacked of archives; and the weights as files of this package, `*.weights.h5`, from which they
are loaded from then on, without the extra that the download's format needs.

A mirror serves the downloads under these names, without folders, for instance
`https://mirror.example.org/weights/keras.inception_v3.h5`; so a copy of the cache folder is one.
What it gives is checked like everything else; where it fails, the publisher's addresses are tried.
"""

SCORES = """\
## Scores as published

In percent, not measured by us, on ImageNet's validation set of 2012 or on the face pairs of LFW.
Scores of different protocols do not compare. The manifest has those on other sets as well.
"""

DETAILS = """\
## What to know of each

How images are prepared, how the network departs from its paper, and what else is known.
"""

UNSUPPORTED = """\
## Weights that are not supported

They are public, and this is why they are not loaded.
"""


def render(facts: Manifest) -> str:
    """Return the page.

    Args:
        facts: the manifest.
    """
    entries = facts.weights.values()
    defaults = ((name, code(model.default), model.reason) for name, model in facts.models.items())
    unsupported = ((code(u.id), u.publisher, u.format, u.reason) for u in facts.unsupported)
    return "\n".join(
        [
            INTRODUCTION,
            DEFAULTS,
            table(("model", "weights", "why"), defaults),
            SUPPORTED,
            table(
                ("id", "model", "architecture", "format", "classes", "heads", "bytes", "licence",
                 "checksum"),
                map(overview, entries),
            ),
            CACHE,
            SCORES,
            table(
                ("id", "top-1", "top-5", "protocol"),
                (score(e, a) for e in entries for a in e.accuracy if a.dataset in SHOWN),
            ),
            DETAILS,
            *map(details, entries),
            UNSUPPORTED,
            table(("id", "publisher", "format", "why not"), unsupported),
        ]
    )  # fmt: skip


def overview(entry: Checkpoint) -> Sequence[str]:
    """Return the row of a checkpoint in the table of those that are supported."""
    background = " (bg)" if entry.background_class else ""
    checksum = entry.strongest_checksum() or entry.strongest_checksum("member")
    inside = " (inside)" if checksum and checksum.of == "member" else ""
    return (
        code(entry.id) + ("" if entry.urls else " (by hand)"),
        entry.model,
        code(entry.architecture),
        entry.format + (f" in {entry.archive}" if entry.archive else ""),
        f"{shown(entry.classes)}{background}",
        shown(entry.aux_heads),
        shown(entry.size_bytes),
        entry.licence or entry.licence_note,
        f"{checksum.algorithm}{inside}" if checksum else "none",
    )


def score(entry: Checkpoint, accuracy: Accuracy) -> Sequence[str]:
    """Return the row of one published score."""
    if accuracy.pairs is not None:
        measured = (f"{accuracy.pairs} of LFW", "-")
    else:
        measured = (shown(accuracy.top1), shown(accuracy.top5))
    return (code(entry.id), *measured, accuracy.protocol)


def details(entry: Checkpoint) -> str:
    """Return the paragraph of one checkpoint."""
    facts = [
        f"published by {entry.origin}; licence: {entry.licence or 'none stated'} "
        f"({entry.licence_note})",
        f"from {' or '.join(f'<{url}>' for url in (*entry.urls, *by_hand(entry)))}",
        f"images: {prepared(entry.preprocessing)}",
        *filter(None, [entry.preprocessing_note, *entry.deviations, entry.notes]),
    ]
    return "\n".join([f"### `{entry.id}`\n", *(f"- {fact}" for fact in facts), ""])


def by_hand(entry: Checkpoint) -> list[str]:
    """Return the page for a browser, if there is one."""
    return [entry.manual_url] if entry.manual_url else []


def prepared(preprocessing: Preprocessing) -> str:
    """Return the fields of a preprocessing, as they are written in Python."""
    fields = dataclasses.asdict(preprocessing).items()
    return code(", ".join(f"{name}={value!r}" for name, value in fields))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str | None) -> str:
    """Return text as code, or "none"."""
    return f"`{text}`" if text else "none"


def shown(fact: object) -> str:
    """Return a fact in words, a question mark if it is unknown."""
    if fact is None:
        return "?"
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    return f"{fact:,}" if isinstance(fact, int) else str(fact)


if __name__ == "__main__":
    PAGE.write_text(render(manifest()), encoding="utf-8")
