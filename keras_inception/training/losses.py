"""Losses of the main and the auxiliary heads: integer labels, smoothing, logits or softmax."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_inception.errors import InputError
from keras_inception.layers import float32_or_wider
from keras_inception.recipes import Recipe

MAIN_HEAD = "predictions"


@keras.saving.register_keras_serializable("keras_inception")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of integer labels, a share of which is spread evenly over all classes.

    The target of an example with label y among K classes is (1 - smoothing) for y plus
    smoothing / K for every class (Szegedy et al. 2015, section 7).

    Args:
        smoothing: the share, at least 0 and below 1.
        from_logits: whether predictions are logits; else they are probabilities.
        **kwargs: of `keras.losses.Loss`.

    Raises:
        InputError: if the share is outside its range.
    """

    def __init__(self, smoothing: float = 0.0, from_logits: bool = False, **kwargs: Any) -> None:
        if not 0 <= smoothing < 1:
            raise InputError(f"smoothing must be at least 0 and below 1, not {smoothing!r}.")
        super().__init__(**kwargs)
        self.smoothing = smoothing
        self.from_logits = from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return one loss per example; labels are (batch,) or (batch, 1)."""
        classes = y_pred.shape[-1]
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        targets = ops.one_hot(labels, classes, dtype=y_pred.dtype)
        targets = targets * (1 - self.smoothing) + self.smoothing / classes
        return ops.categorical_crossentropy(targets, y_pred, from_logits=self.from_logits)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments for serialisation."""
        own = {"smoothing": self.smoothing, "from_logits": self.from_logits}
        return super().get_config() | own


@dataclass(frozen=True)
class HeadLosses:
    """The loss and the weight of every head of a model, by the name of its output."""

    losses: dict[str, SmoothedCrossentropy]
    weights: dict[str, float]

    @property
    def from_logits(self) -> bool:
        """Whether the main head gives logits."""
        return self.losses[MAIN_HEAD].from_logits

    def total(self, labels: Any, outputs: Any) -> Any:
        """Mean over the examples of the weighted sum of all heads' losses.

        Args:
            labels: integers (batch,).
            outputs: of the heads, by name.
        """
        # Not loss(...): under a strategy Keras would divide that by the number of replicas.
        means = {
            name: ops.mean(loss.call(labels, float32_or_wider(outputs[name])))
            for name, loss in self.losses.items()
        }
        return sum(self.weights[name] * mean for name, mean in means.items())


def outputs_by_head(model: keras.Model) -> dict[str, Any]:
    """Return the symbolic outputs of a model by head; a single output is the main head.

    Raises:
        InputError: if the model has no symbolic outputs, a list of them, or a dict without
            "predictions".
    """
    try:
        outputs = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    except (AttributeError, ValueError) as error:
        raise InputError(
            f"{getattr(model, 'name', model)!r} has no symbolic outputs. Give a Functional or "
            "Sequential model, or wrap yours: keras.Model(inputs, model(inputs))."
        ) from error
    if isinstance(outputs, dict):
        if MAIN_HEAD not in outputs:
            raise InputError(
                f"The outputs of {model.name!r} are called {', '.join(outputs)}; the main one must "
                f"be called {MAIN_HEAD!r}."
            )
        return outputs
    if isinstance(outputs, list | tuple):
        raise InputError(
            f"{model.name!r} returns a list of {len(outputs)} outputs; give them names: "
            f"keras.Model(inputs, {{{MAIN_HEAD!r}: ..., 'aux': ...}})."
        )
    return {MAIN_HEAD: outputs}


def main_model(model: keras.Model) -> keras.Model:
    """Return the model without its auxiliary heads: same layers, one output tensor."""
    output = outputs_by_head(model)[MAIN_HEAD]
    return keras.Model(model.inputs[0], output, name=model.name)


def gives_logits(output: Any) -> bool:
    """Whether a symbolic output is logits rather than softmax probabilities.

    Raises:
        InputError: if the layers before it do not tell.
    """
    operation = output._keras_history.operation
    if isinstance(operation, keras.layers.Softmax):
        return False
    if len(getattr(operation, "outputs", ())) == 1:  # a model within the model
        return gives_logits(operation.outputs[0])
    activation = getattr(operation, "activation", None)
    if activation is keras.activations.softmax:
        return False
    if activation is keras.activations.linear and not isinstance(
        operation, keras.layers.Activation
    ):
        return True
    passes_on = keras.layers.Activation | keras.layers.Reshape | keras.layers.Flatten
    if isinstance(operation, passes_on) and activation in (None, keras.activations.linear):
        return gives_logits(operation.input)
    raise InputError(
        f"Cannot tell whether the output of the layer {operation.name!r} is logits or "
        "probabilities. Say from_logits=True or from_logits=False."
    )


def head_losses(model: keras.Model, recipe: Recipe, from_logits: bool | None = None) -> HeadLosses:
    """Return the losses of all heads of a model as the recipe weights and smooths them.

    Args:
        model: Functional or Sequential; auxiliary heads are outputs other than "predictions".
        recipe: gives the smoothing, of every head, and the auxiliary heads' weight.
        from_logits: whether outputs are logits; None reads it off the last layers.

    Raises:
        InputError: if the outputs are not understood, or there are auxiliary heads and the recipe
            weights them 0, so that they would not be trained.
    """
    outputs = outputs_by_head(model)
    auxiliary = [name for name in outputs if name != MAIN_HEAD]
    if auxiliary and recipe.auxiliary_weight == 0:
        raise InputError(
            f"{model.name!r} has the auxiliary heads {', '.join(auxiliary)}, but the recipe "
            f"{recipe.name!r} gives them the weight 0. Set auxiliary_weight, or build the model "
            "without them."
        )
    losses = {}
    for name, output in outputs.items():
        logits = gives_logits(output) if from_logits is None else from_logits
        losses[name] = SmoothedCrossentropy(recipe.label_smoothing, from_logits=logits)
    weights = {name: 1.0 if name == MAIN_HEAD else recipe.auxiliary_weight for name in outputs}
    return HeadLosses(losses, weights)


def label_every_head(model: keras.Model) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return a function for `dataset.map` that gives the labels to every head of a model.

    Plain Keras wants one set of labels for each output; `ki.training.fit` does not.

    Example:
        >>> model.fit(dataset.map(label_every_head(model)))  # doctest: +SKIP
    """
    names = list(outputs_by_head(model))

    def with_labels(images, labels):
        return images, labels if names == [MAIN_HEAD] else dict.fromkeys(names, labels)

    return with_labels
