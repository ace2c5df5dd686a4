"""Other ways to the gradient of a kernel: `python benchmarks/kernel_gradient.py`.

In a train step on a CPU the gradients with respect to kernels larger than 1x1 take the most time.
For every such convolution of InceptionV3 this times TensorFlow's operation, and the same gradient
as a sum of matrix products, one for each place in the kernel: with copies of the shifted images
("slices"), with flat views of the padded images ("views", stride 1 only), and as one product with
all patches side by side ("patches"). They must agree. Prints the time of the network's convolutions
on grids of up to 8x8, and on larger ones, by each way, and by the fastest for each, in float32 and
bfloat16, and writes `benchmarks/kernel_gradient.json`; which way is fastest depends on
TF_ENABLE_ONEDNN_OPTS, which the record names.
"""

import argparse
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

import keras_inception as ki
from keras_inception.files import atomic_path
from keras_inception.jobs.benchmark.results import machine

RESULT = Path(__file__).with_suffix(".json")
BATCH, ROUNDS = 16, 9
TOLERANCES = {"float32": 1e-4, "bfloat16": 2**-5}  # of the largest number of a gradient
STOCK = "TensorFlow's operation"


@dataclass(frozen=True)
class Convolution:
    """The facts of a convolution.

    Attributes:
        shape: height, width, channels of its input.
        kernel: height and width.
        filters: their number.
        stride: in both directions.
        padding: "valid" or "same"; with "same" the stride is 1.
    """

    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    filters: int
    stride: int
    padding: str

    def padded(self, x: tf.Tensor) -> tf.Tensor:
        """Return the images with the margins of "same"."""
        if self.padding == "valid":
            return x
        margins = [((k - 1) // 2, k // 2) for k in self.kernel]
        return tf.pad(x, [(0, 0), *margins, (0, 0)])

    def weights(self, products: list[tf.Tensor]) -> tf.Tensor:
        """Return the gradient from that of every place in the kernel."""
        return tf.reshape(tf.stack(products), (*self.kernel, self.shape[2], self.filters))


def convolutions() -> Counter[Convolution]:
    """Return the convolutions of InceptionV3 whose kernels are larger than 1x1."""
    layers = [layer for layer in ki.InceptionV3(weights=None).layers if hasattr(layer, "kernel")]
    return Counter(
        Convolution(
            tuple(layer.input.shape[1:]),
            layer.kernel_size,
            layer.filters,
            layer.strides[0],
            layer.padding,
        )
        for layer in layers
        if len(layer.kernel.shape) == 4 and layer.kernel_size != (1, 1)
    )


def rows(x: tf.Tensor) -> tf.Tensor:
    """Return all but the channels flat."""
    return tf.reshape(x, (-1, x.shape[-1]))


def stock(of: Convolution, x: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Return the gradient as TensorFlow computes it."""
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x,
        filter_sizes=(*of.kernel, of.shape[2], of.filters),
        out_backprop=change,
        strides=[1, of.stride, of.stride, 1],
        padding=of.padding.upper(),
    )


def slices(of: Convolution, x: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Return it as products with the images shifted and copied."""
    x, (height, width) = of.padded(x), change.shape[1:3]
    ends = of.stride * (height - 1) + 1, of.stride * (width - 1) + 1
    shifted = (
        x[:, i : i + ends[0] : of.stride, j : j + ends[1] : of.stride]
        for i in range(of.kernel[0])
        for j in range(of.kernel[1])
    )
    return of.weights([tf.matmul(rows(part), rows(change), transpose_a=True) for part in shifted])


def views(of: Convolution, x: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Return it as products with parts of the flat images; changes are 0 between the rows."""
    x = of.padded(x)
    ends = [(0, whole - part) for whole, part in zip(x.shape[1:3], change.shape[1:3], strict=True)]
    flat, changes = rows(x), rows(tf.pad(change, [(0, 0), *ends, (0, 0)]))
    starts = (i * x.shape[2] + j for i in range(of.kernel[0]) for j in range(of.kernel[1]))
    return of.weights(
        [tf.matmul(flat[s:], changes[: flat.shape[0] - s], transpose_a=True) for s in starts]
    )


def patches(of: Convolution, x: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Return it as one product with all patches."""
    strides, sizes = [1, of.stride, of.stride, 1], [1, *of.kernel, 1]
    found = tf.image.extract_patches(x, sizes, strides, [1, 1, 1, 1], of.padding.upper())
    product = tf.matmul(rows(found), rows(change), transpose_a=True)
    return tf.reshape(product, (*of.kernel, of.shape[2], of.filters))


WAYS: dict[str, Callable] = {STOCK: stock, "slices": slices, "views": views, "patches": patches}


def measure(of: Convolution, dtype: str) -> dict[str, float]:
    """Return the median seconds of every way for a convolution."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(BATCH, *of.shape)), dtype)
    grid = [
        size if of.padding == "same" else (size - k) // of.stride + 1
        for size, k in zip(of.shape[:2], of.kernel, strict=True)
    ]
    change = tf.constant(rng.normal(size=(BATCH, *grid, of.filters)), dtype)
    runs = {
        name: tf.function(lambda x, change, way=way: way(of, x, change), autograph=False)
        for name, way in WAYS.items()
        if name != "views" or of.stride == 1
    }
    wanted = runs[STOCK](x, change).numpy().astype("float32")
    for run in runs.values():
        got = run(x, change).numpy().astype("float32")
        np.testing.assert_allclose(got, wanted, atol=TOLERANCES[dtype] * np.abs(wanted).max())
    seconds = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.perf_counter()
            run(x, change)[0, 0, 0, 0].numpy()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def totals(
    found: dict[Convolution, dict[str, float]], counts: Counter[Convolution]
) -> dict[str, float]:
    """Return the seconds of all convolutions together, by every way and by the fastest for each."""
    sums: Counter[str] = Counter()
    for of, seconds in found.items():
        for name in WAYS:
            sums[name] += counts[of] * seconds.get(name, seconds[STOCK])
        sums["the fastest for each"] += counts[of] * min(seconds.values())
    return dict(sums)


def main() -> None:
    """Measure, print and write the totals."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    setting = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "by the processor")
    record = {"machine": machine(), "batch": BATCH, "rounds": ROUNDS, "onednn": setting}
    record["results"] = {}
    counts = convolutions()
    for dtype in TOLERANCES:
        small, large = {}, {}
        for of in counts:
            found = measure(of, dtype)
            print(dtype, of, {name: round(1e3 * seconds, 1) for name, seconds in found.items()})
            (small if max(of.shape[:2]) <= 8 else large)[of] = found
        record["results"][f"{dtype}, up to 8x8"] = totals(small, counts)
        record["results"][f"{dtype}, larger"] = totals(large, counts)
    for name, seconds in record["results"].items():
        print(name, {way: round(value, 3) for way, value in seconds.items()})
    with atomic_path(RESULT) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
