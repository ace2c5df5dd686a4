"""Teaches public weights of InceptionV3 a new task: first a new head, then the top blocks as well.

    python examples/transfer_learning.py path/to/class/folders --weights imagenet
    python examples/transfer_learning.py

It measures the accuracy on the test images and writes `model.keras`. Without arguments it runs
offline, on the handwritten digits and from random weights at a small width: the steps are the same,
the gain is not.

A frozen layer keeps its weights, and a frozen batch normalisation keeps its statistics too: it then
normalises by them in training as in prediction. That is why the two agree.
"""

import argparse

import keras

import keras_inception as ki

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("data", nargs="?", default="digits")
parser.add_argument("--weights", default="none", help="imagenet, an id of InceptionV3, or none")
parser.add_argument("--epochs", type=int, default=3, help="of each of the two phases")
parser.add_argument("--out", default="model.keras", help="file for the network")
options = parser.parse_args()

keras.utils.set_random_seed(0)
dataset = ki.data.load(options.data)
public = options.weights != "none"
if not public:
    print("random weights, small width: the steps are shown, not the gain")
    prepare = ki.Preprocessing(size=(75, 75), crop_fraction=1.0)  # all of a digit
elif options.weights == "imagenet":
    prepare = ki.weights.default_weights("InceptionV3").preprocessing
else:
    prepare = ki.preprocessing(options.weights)
train = ki.data.training_batches(
    dataset.train, preprocessing=prepare, global_batch_size=32, mode="light"
)
validation = ki.data.evaluation_batches(dataset.validation, preprocessing=prepare, batch_size=32)

model = ki.InceptionV3(
    weights=options.weights if public else None,
    width=1.0 if public else 0.1,
    input_shape=(*prepare.size, 3),
    classes=len(dataset.class_names),
)
for until, learning_rate in (("mixed_7c", 1e-3), ("mixed_6e", 1e-4)):
    ki.weights.freeze(model, until=until)
    model.compile(
        keras.optimizers.Adam(learning_rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    print(f"frozen up to {until}; {len(model.trainable_weights)} variables are left to train")
    model.fit(
        train.dataset(options.epochs),
        epochs=options.epochs,
        steps_per_epoch=train.steps_per_epoch,
        validation_data=validation,
        shuffle=False,  # the dataset does
    )
test = ki.data.evaluation_batches(dataset.test, preprocessing=prepare, batch_size=32)
print(f"test accuracy: {model.evaluate(test, verbose=0, return_dict=True)['accuracy']:.3f}")
model.save(options.out)
print(f"{options.out} written")
