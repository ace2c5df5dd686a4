"""Trainings in a process of their own: `python -m tests.training.run_fit '{"runs": [...]}'`.

Writes what every run came to into `out`, and a line to standard error for each step.
"""

import json
import os
import sys
import time


def set_up(options):
    """Make the devices and the strategy, before anything else is done with TensorFlow."""
    devices = options.get("devices", 1)
    if os.environ.get("KERAS_BACKEND") != "jax" and devices > 1:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration()] * devices
        tf.config.set_logical_device_configuration(cpu, logical)

    from keras_inception import training

    name = options.get("strategy", "none")
    place = {key: options[key] for key in ("workers", "index") if key in options}
    if name == "mirrored":
        place["devices"] = options.get("names", [f"CPU:{i}" for i in range(devices)])
    return training.make_strategy(name, **place)


def train(options, strategy="none"):
    """Train; return (raw model and optimizer, averaged model, history, copies on replicas)."""
    import keras
    import numpy as np

    from keras_inception import training
    from keras_inception.training.averaging import batch_norm_layers
    from tests.training import small

    found = {}

    class Watch(keras.callbacks.Callback):
        """Tells each step and holds it up, so that it can be killed; keeps the raw weights."""

        def on_train_batch_end(self, batch, logs=None):
            small.log("step", int(self.model.optimizer.iterations.numpy()))
            time.sleep(options.get("pause", 0))

        def on_train_end(self, logs=None):
            model, optimizer = self.model, self.model.optimizer
            variables = [*model.weights, *optimizer.variables]
            found["raw"] = [np.array(variable.numpy()) for variable in variables]
            found["copies"] = [copies(variable) for variable in variables]
            norms = batch_norm_layers(model)
            found["synchronized"] = [norm.name for norm in norms if norm.synchronized]
            if keras.backend.backend() == "jax":
                found["devices"] = [each.id for each in model.weights[0].value.devices()]
            found["seeds"] = [copies(v) for v in model.variables if v.name.startswith("seed_gen")]

    net = getattr(small, options["net"])
    data = small.Batches(**options.get("data", {}))

    def build():
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(options.get("dtype", "float32"))
        try:
            return net(options.get("dropout", 0.0))
        finally:
            keras.config.set_dtype_policy(before)

    run = training.fit(
        build,
        small.recipe(**options.get("recipe", {})),
        data,
        small.validation(**{"side": data.side} | options.get("validation", {})),
        run_dir=options["run_dir"],
        strategy=strategy,
        batch_statistics=options.get("batch_statistics", "local"),
        deterministic=options.get("deterministic", False),
        rematerialize=options.get("rematerialize", False),
        checkpoint_steps=options.get("checkpoint_steps"),
        callbacks=[Watch()],
        verbose=0,
    )
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]
    return found | {"averaged": small.weights_of(run.model), "history": rows}


def train_plain(options, cluster):
    """Train by plain Keras: `recipe.compile`, `model.fit`, `recipe.callbacks`."""
    import keras

    from keras_inception.training import label_every_head
    from tests.training import small

    data, recipe = small.Batches(**options.get("data", {})), small.recipe(**options["recipe"])
    keras.utils.set_random_seed(0)
    with cluster.scope():
        model = getattr(small, options["net"])()
        recipe.compile(model, images=data.images, global_batch_size=data.global_batch_size)
    dataset = data.epoch(0)
    for epoch in range(1, recipe.epochs):
        dataset = dataset.concatenate(data.epoch(epoch))
    history = model.fit(
        dataset.map(label_every_head(model)),
        steps_per_epoch=data.steps_per_epoch,
        epochs=recipe.epochs,
        validation_data=small.validation(images=24).map(label_every_head(model)),
        callbacks=recipe.callbacks(options["run_dir"]),
        verbose=0,
    ).history
    saved = keras.models.load_model(f"{options['run_dir']}/model.keras")
    found = {"averaged": small.weights_of(saved), "history": history}
    return found | {"copies": [copies(variable) for variable in model.weights]}


def copies(variable):
    """The values of a variable on all replicas of this process."""
    import numpy as np

    if not hasattr(variable.value, "values"):
        return np.array(variable.numpy())[None]
    return np.stack([value.numpy() for value in variable.value.values])


def main(options):
    strategy = set_up(options)
    results = [
        (train_plain if run.get("plain") else train)(options | run, strategy)
        for run in options["runs"]
    ]
    with open(options["out"], "wb") as file:
        import pickle

        pickle.dump(results, file)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
