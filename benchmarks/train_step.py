"""How fast a train step is, and how much memory it takes: `python benchmarks/train_step.py`.

The same network from this package, from keras.applications and from timm where they have it and
timm is installed, trained on the same batch by gradient descent with momentum, each with its
library's own optimizer; in the paper's form and in the others that they have, each compared with
this package's network in the same form. The two in Keras make their step by `train_on_batch`; this
package's once more with activations rematerialized. timm's is eager, its channels last, and whole
in bfloat16 where Keras has mixed_bfloat16. Prints medians, their ratios and the most memory of each
process, and writes `benchmarks/train_step.json`, where what the same machine measured before stays,
if the settings were the same.

TensorFlow computes convolutions by oneDNN, or not, as TF_ENABLE_ONEDNN_OPTS says; without it, as
suits the processor. The record says what it was.
"""

import argparse
import importlib.util
import itertools
import json
import os
from pathlib import Path

from turns import Side, in_turns

from keras_inception.jobs.benchmark.results import machine
from keras_inception.jobs.benchmark.sides import FORMS, OURS, STOCK

RESULT = Path(__file__).with_suffix(".json")
TIMM = "timm"
THEIRS = FORMS | {TIMM: FORMS[TIMM] | {"InceptionV3": FORMS["torchvision"]["InceptionV3"]}}
REMATERIALIZED = f"{OURS} rematerialized"
TIMM_NAMES = {
    "InceptionV3": "inception_v3",
    "InceptionV4": "inception_v4",
    "InceptionResNetV2": "inception_resnet_v2",
}
POLICIES = {"float32": "float32", "mixed_bfloat16": "bfloat16"}
CLASSES = 1000


def forms(network: str) -> list[str]:
    """Return the forms of a network that are measured here: the paper's, and the others'."""
    libraries = [STOCK, TIMM] if importlib.util.find_spec("timm") else [STOCK]
    theirs = [THEIRS[library].get(network, "paper") for library in libraries]
    return list(dict.fromkeys(["paper", *theirs]))


def sides(network: str, form: str) -> list[str]:
    """Return who has the network in this form here, the reference first."""
    found = [STOCK] if THEIRS[STOCK].get(network) == form else []
    found += [OURS, REMATERIALIZED]
    if THEIRS[TIMM].get(network) == form and importlib.util.find_spec("timm"):
        found.append(TIMM)
    return found


def prepare(side: str, network: str, form: str, policy: str, batch: int, size: int):
    """Return what does a train step of a side on random images."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (batch, size, size, 3)).astype("float32")
    labels = rng.integers(0, CLASSES, batch)
    if side == TIMM:
        return timm_step(TIMM_NAMES[network], POLICIES[policy], images, labels)
    import keras

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    shape = (size, size, 3)
    if side == STOCK:
        model = getattr(keras.applications, network)(weights=None, input_shape=shape)
        optimizer = keras.optimizers.SGD(0.01, 0.9)
    else:
        import keras_inception as ki

        model = ki.build(network, weights=None, input_shape=shape, architecture=form)
        optimizer = ki.training.Momentum(0.01, 0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    if side == REMATERIALIZED:
        return rematerialized_step(model, images, labels)
    return lambda: model.train_on_batch(images, labels)


def rematerialized_step(model, images, labels):
    """Return what does a step as `ki.training.fit(..., rematerialize=True)` does."""
    import keras
    import tensorflow as tf

    from keras_inception.training import health
    from keras_inception.training.rematerialization import Rematerialized

    forward = Rematerialized(health.with_features(model))
    loss_of = keras.losses.SparseCategoricalCrossentropy()
    model.optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, forward(images)["heads"]["predictions"])
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        model.optimizer.apply(gradients, variables)
        return loss

    return lambda: step(images, labels).numpy()


def timm_step(name: str, dtype: str, images, labels):
    """Return what does an eager step of a PyTorch network, channels last."""
    import timm
    import torch

    dtype = getattr(torch, dtype)
    network = timm.create_model(name, pretrained=False).train()
    network = network.to(dtype=dtype, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9)
    images, labels = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images.to(dtype)).float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def report(found: dict[str, Side]) -> dict[str, dict]:
    """Return each side's figures; speedup is this package's over that side."""
    ours = found[OURS].median
    return {
        name: {
            "seconds": side.median,
            "spread": [min(side.seconds), max(side.seconds)],
            "undisturbed_turns": side.undisturbed,
            "memory_bytes": side.memory,
            "speedup": side.median / ours,
        }
        for name, side in found.items()
    }


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["InceptionV3"])
    parser.add_argument(
        "--forms", nargs="+", help="of the networks; by default those of the libraries"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=299)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    options = parser.parse_args()
    settings = {"batch": options.batch, "size": options.size, "rounds": options.rounds}
    settings["onednn"] = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "by the processor")
    record = {"machine": machine(), **settings}
    before = json.loads(RESULT.read_text()) if RESULT.exists() else {"results": {}}
    results = before.pop("results")
    if before != record:
        results = {}
    for network in options.networks:
        for form, policy in itertools.product(options.forms or forms(network), options.policies):
            arguments = (network, form, policy, options.batch, options.size)
            found = in_turns(
                prepare,
                sides(network, form),
                *arguments,
                rounds=options.rounds,
                steps=1,
                in_torch=[TIMM],
            )
            table = report(found)
            results.setdefault(f"{network} {form}", {})[policy] = table
            for side, row in table.items():
                print(
                    f"{network} {form} {policy:15} {side:20} {row['seconds']:7.3f} s a step, "
                    f"{row['memory_bytes'] / 2**30:5.2f} GiB, ours {row['speedup']:.2f}x as fast",
                    flush=True,
                )
    record["results"] = results
    RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
