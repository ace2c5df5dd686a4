"""Training recipes of the papers, as frozen dataclasses, and the plan that a recipe makes.

Sources, quoted beside every value:

- [1] Szegedy et al. 2014, "Going deeper with convolutions"
- [2] Ioffe and Szegedy 2015, "Batch normalization"
- [3] Szegedy et al. 2015, "Rethinking the Inception architecture for computer vision"
- [4] Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the impact of residual connections"
- release: the authors' TensorFlow code (`slim` and `inception` in tensorflow/models/research)
- Caffe: the public replication of [1] (`bvlc_googlenet/solver.prototxt`)
- ours: not stated by any of them

None of the recipes has been run at full size on ImageNet here. Change one with
`dataclasses.replace(recipes.inception_v3, epochs=20)`; values that make no sense are refused.
"""

import dataclasses
import itertools
import math
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from keras_inception.errors import InputError, unknown

if TYPE_CHECKING:
    import keras

OPTIMIZERS = ("rmsprop", "momentum")
CLIP_SCOPES = ("global", "tensor")
AUGMENTATIONS = ("paper", "light", "none")


def _described(text: str):
    """A dataclass field with its description, which the command line shows as help."""
    return field(metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: every number of a paper's training section.

    `field.metadata["help"]` of `dataclasses.fields(Recipe)` describes each value.

    Raises:
        InputError: if a value is outside its range; names the recipe, the field and the value.

    Example:
        >>> print(inception_v3.plan(images=1_281_167, global_batch_size=1600))  # doctest: +SKIP
    """

    name: str = _described("name of the recipe, used in messages and in the run folder")
    optimizer: str = _described("'rmsprop' (with momentum) or 'momentum' (plain SGD with it)")
    learning_rate: float = _described("learning rate of the first step, for any batch size")
    learning_rate_decay: float = _described("factor on the learning rate at every decay, 0 to 1")
    epochs_per_decay: float = _described("epochs between two decays of the learning rate")
    epochs: int = _described("passes over the training images")
    momentum: float = _described("momentum of either optimizer, at least 0, below 1")
    rho: float = _described("rmsprop only: decay of the mean squared gradient, 0 to below 1")
    epsilon: float = _described("rmsprop only: added to the mean squared gradient under the root")
    clip_norm: float | None = _described("largest norm of the gradient; None does not clip")
    clip_scope: str = _described("'global': the norm over all gradients; 'tensor': that of each")
    l2: float = _described("L2 penalty l2 * sum(w * w) / 2 on convolution and dense kernels")
    label_smoothing: float = _described("share of each label spread evenly over all classes")
    auxiliary_weight: float = _described("weight of each auxiliary head's loss")
    batch_norm_momentum: float | None = _described(
        "momentum of the batch-norm statistics, set on every such layer; None leaves the model's"
    )
    average_decay: float | None = _described(
        "decay of the running average of the weights, at most; None keeps no average"
    )
    augmentation: str = _described("'paper', 'light' or 'none': the mode for training_batches")

    def __post_init__(self):
        """Check every value."""
        self._check(self.optimizer in OPTIMIZERS, "optimizer", f"one of {', '.join(OPTIMIZERS)}")
        self._check(self.clip_scope in CLIP_SCOPES, "clip_scope", "'global' or 'tensor'")
        self._check(
            self.augmentation in AUGMENTATIONS,
            "augmentation",
            f"one of {', '.join(AUGMENTATIONS)}",
        )
        whole = isinstance(self.epochs, int) and not isinstance(self.epochs, bool)
        self._check(whole and self.epochs >= 1, "epochs", "a whole number of at least 1")
        for name in ("learning_rate", "epochs_per_decay", "epsilon"):
            self._check_number(name, lambda x: x > 0, "a number above 0")
        for name in ("l2", "auxiliary_weight"):
            self._check_number(name, lambda x: x >= 0, "a number of at least 0")
        for name in ("momentum", "rho", "label_smoothing"):
            self._check_number(name, lambda x: 0 <= x < 1, "at least 0 and below 1")
        self._check_number("learning_rate_decay", lambda x: 0 < x <= 1, "above 0 and at most 1")
        if self.clip_norm is not None:
            self._check_number("clip_norm", lambda x: x > 0, "a number above 0, or None")
        for name in ("batch_norm_momentum", "average_decay"):
            if getattr(self, name) is not None:
                self._check_number(name, lambda x: 0 <= x < 1, "at least 0 and below 1, or None")

    def _check_number(self, name, valid, expected):
        value = getattr(self, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        self._check(number and math.isfinite(value) and valid(value), name, expected)

    def _check(self, valid, name, expected):
        if not valid:
            value = getattr(self, name)
            raise InputError(f"Recipe {self.name!r}: {name} must be {expected}, not {value!r}.")

    def plan(self, images: int, global_batch_size: int) -> "Plan":
        """Work out what training by this recipe will do, before anything runs.

        Args:
            images: training images in an epoch.
            global_batch_size: images in a step, summed over all devices and machines.

        Returns:
            The plan; `print(plan)` shows the steps, the learning rate by epoch and what the
            running average does.

        Raises:
            InputError: if a number is not a whole number above 0, or the batch has more images
                than the epoch.
        """
        return Plan(recipe=self, images=images, global_batch_size=global_batch_size)

    def compile(
        self,
        model: "keras.Model",
        *,
        images: int,
        global_batch_size: int,
        from_logits: bool | None = None,
    ) -> None:
        """Compile `model` for plain `model.fit` with this recipe.

        Sets the optimizer with its schedule, the losses of all heads and the accuracy of the main
        one, and the momentum of the batch-norm layers. Under a distribution strategy, build and
        compile the model inside `strategy.scope()`.

        Args:
            model: a Functional or Sequential classifier; labels are integers. If it has auxiliary
                heads, map the data with `ki.training.label_every_head(model)`.
            images: training images in an epoch, for the schedule.
            global_batch_size: images in a step, summed over all devices.
            from_logits: whether the outputs are logits; None reads it off the last layers.

        Raises:
            InputError: if the outputs are not understood, or the model has auxiliary heads and
                the recipe gives them no weight.
        """
        from keras_inception.training import compiling  # the one exception: docs/code_layout.md

        plan = self.plan(images, global_batch_size)
        compiling.compile_model(model, plan, from_logits=from_logits)

    def callbacks(self, run_dir: str | os.PathLike) -> list["keras.callbacks.Callback"]:
        """Return the callbacks that plain `model.fit` needs to follow this recipe.

        In order: the running average of the weights (if the recipe has one), which evaluates and
        saves the averaged weights; a guard that stops on a value that is not finite; history.csv,
        curves.png and TensorBoard logs; model.keras, without the auxiliary heads.

        Args:
            run_dir: folder to write to; created if need be.

        Returns:
            A new list of callbacks, for one call of `fit`. Its order matters: append your own.
        """
        from keras_inception.training import compiling

        return compiling.callbacks(self, run_dir)


@dataclass(frozen=True)
class Plan:
    """What training by a recipe does with a number of images and a batch size.

    Args:
        recipe: the recipe.
        images: training images in an epoch.
        global_batch_size: images in a step, over all devices; the last partial batch is dropped.
    """

    recipe: Recipe
    images: int
    global_batch_size: int

    def __post_init__(self):
        """Check the two numbers."""
        for name in ("images", "global_batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} must be a whole number above 0, not {value!r}.")
        if self.images < self.global_batch_size:
            raise InputError(
                f"The global batch of {self.global_batch_size} images is larger than the "
                f"{self.images} training images: no step could be made. Choose a smaller batch."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch; a last batch that is not full is dropped."""
        return self.images // self.global_batch_size

    @property
    def steps(self) -> int:
        """Steps in the whole training."""
        return self.steps_per_epoch * self.recipe.epochs

    @property
    def decay_steps(self) -> int:
        """Steps between two decays of the learning rate, at least 1."""
        return max(1, round(self.steps_per_epoch * self.recipe.epochs_per_decay))

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step; the first step is 0."""
        decays = step // self.decay_steps
        return self.recipe.learning_rate * self.recipe.learning_rate_decay**decays

    def average_decay(self, updates: int) -> float:
        """Decay of the running average at its n-th update; the first update is 1.

        The release's ramp, min(decay, (1 + n) / (10 + n)): early averages forget quickly.

        Raises:
            InputError: if the recipe keeps no average.
        """
        if self.recipe.average_decay is None:
            raise InputError(f"The recipe {self.recipe.name!r} keeps no running average.")
        return min(self.recipe.average_decay, (1 + updates) / (10 + updates))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about values that do not suit a training of this length; empty if all do."""
        momentum = self.recipe.batch_norm_momentum
        if momentum is None or momentum**self.steps <= 0.01:
            return ()
        return (
            f"batch_norm_momentum {momentum:g} is slow for {_count(self.steps, 'step')}: "
            f"the statistics keep {momentum**self.steps:.0%} of their initial values.",
        )

    def __str__(self) -> str:
        """Several lines: optimizer, steps, learning rate by epoch, running average, warnings."""
        recipe = self.recipe
        weight = recipe.auxiliary_weight
        auxiliary = f"auxiliary heads {weight:g} each, " if weight else ""
        lines = [
            f"recipe {recipe.name}: {_optimizer_text(recipe)}",
            f"loss: label smoothing {recipe.label_smoothing:g}, "
            f"{auxiliary}L2 {recipe.l2:g} on kernels",
            f"steps: {_count(self.images, 'image')} in batches of {self.global_batch_size:,}: "
            f"{self.steps_per_epoch:,} an epoch, {self.steps:,} in "
            f"{_count(recipe.epochs, 'epoch')}",
            f"learning rate by epoch: {self._learning_rate_text()}",
            f"running average: {self._average_text()}",
            *(f"warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)

    def _learning_rate_text(self, shown: int = 8) -> str:
        """Learning rate at the start of the epochs; the middle is left out if it is long."""
        starts = [self.learning_rate(i * self.steps_per_epoch) for i in range(self.recipe.epochs)]
        spans = []
        for rate, group in itertools.groupby(enumerate(starts, 1), key=lambda start: start[1]):
            epochs = [epoch for epoch, _ in group]
            span = f"{epochs[0]}-{epochs[-1]}" if len(epochs) > 1 else f"{epochs[0]}"
            spans.append(f"{span}: {rate:.4g}")
        if len(spans) > shown:
            spans[shown - 2 : -1] = ["..."]
        return ", ".join(spans)

    def _average_text(self) -> str:
        decay = self.recipe.average_decay
        if decay is None:
            return "none; the last weights are evaluated and saved"
        ceiling = math.ceil((10 * decay - 1) / (1 - decay))
        reached = f"reached at step {ceiling:,}" if ceiling <= self.steps else "not reached"
        window = 1 / (1 - self.average_decay(self.steps))
        return (
            f"decay min({decay:g}, (1 + n) / (10 + n)), its maximum {reached}; "
            f"at the end it spans about {_count(round(window), 'step')}; "
            "it is what is evaluated and saved"
        )


def _count(number: int, thing: str) -> str:
    """Put a number of things into words: "1 step", "2,000 steps"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _optimizer_text(recipe: Recipe) -> str:
    text = f"{recipe.optimizer}, momentum {recipe.momentum:g}"
    if recipe.optimizer == "rmsprop":
        text += f", rho {recipe.rho:g}, epsilon {recipe.epsilon:g}"
    if recipe.clip_norm is not None:
        what = "of all gradients together" if recipe.clip_scope == "global" else "of each gradient"
        text += f", norm {what} clipped at {recipe.clip_norm:g}"
    return text


googlenet = Recipe(
    name="googlenet",
    optimizer="momentum",  # [1] sec. 6
    learning_rate=0.01,  # Caffe; [1] does not say
    learning_rate_decay=0.96,  # [1] sec. 6: 4 % down ...
    epochs_per_decay=8,  # [1] sec. 6: ... every 8 epochs
    epochs=250,  # Caffe: 10,000,000 iterations of 32 images; [1] does not say
    momentum=0.9,  # [1] sec. 6
    rho=0.9,  # not used by this optimizer
    epsilon=1.0,  # not used by this optimizer
    clip_norm=None,  # [1] does not clip
    clip_scope="global",  # not used without clip_norm
    l2=2e-4,  # Caffe; [1] does not say
    label_smoothing=0.0,  # [1] has none
    auxiliary_weight=0.3,  # [1] sec. 5
    batch_norm_momentum=None,  # [1] has no batch normalisation
    average_decay=0.9999,  # [1] sec. 6: Polyak averaging; the decay is the release's
    augmentation="paper",  # [1] sec. 6
)

bn_inception = replace(
    googlenet,
    name="bn_inception",
    learning_rate=0.045,  # [2] sec. 4.2.2, network BN-x30
    epochs_per_decay=8 / 6,  # [2] sec. 4.2.1: decays 6 times faster than [1]
    epochs=150,  # [2] sec. 4.2.2: 6,000,000 steps of 32 images
    l2=4e-5,  # release; [2] sec. 4.2.1: 5 times less than before
    auxiliary_weight=0.0,  # [2] does not say; the release has none
    batch_norm_momentum=0.9997,  # release
)

inception_v2 = Recipe(
    name="inception_v2",
    optimizer="momentum",  # [3] sec. 8: the earlier experiments; the first row of table 3
    learning_rate=0.045,  # [3] sec. 8
    learning_rate_decay=0.94,  # [3] sec. 8
    epochs_per_decay=2,  # [3] sec. 8
    epochs=100,  # [3] sec. 8
    momentum=0.9,  # [3] sec. 8
    rho=0.9,  # [3] sec. 8; used from `rmsprop` on
    epsilon=1.0,  # [3] sec. 8; used from `rmsprop` on
    clip_norm=2.0,  # [3] sec. 8
    clip_scope="global",  # [3] sec. 8 cites Pascanu et al., who scale the whole gradient
    l2=4e-5,  # release
    label_smoothing=0.0,  # [3] table 3: comes with `label_smoothing`
    auxiliary_weight=0.4,  # release
    batch_norm_momentum=0.9997,  # release
    average_decay=0.9999,  # [3] sec. 8: a running average is evaluated; the decay is the release's
    augmentation="paper",  # as [1]
)

# The ladder of [3] table 3. Each step keeps what came before; the last two change the network.
rmsprop = replace(inception_v2, name="rmsprop", optimizer="rmsprop")
label_smoothing = replace(rmsprop, name="label_smoothing", label_smoothing=0.1)  # [3] sec. 7
factorized = replace(label_smoothing, name="factorized")  # InceptionV2(stem="factorized")
bn_auxiliary = replace(factorized, name="bn_auxiliary")  # and aux_heads=True, batch normalised

inception_v3 = replace(bn_auxiliary, name="inception_v3")  # [3] table 3: its last row is v3

inception_v4 = replace(
    inception_v3,
    name="inception_v4",  # [4] sec. 4: optimizer, learning rate, its decay, running average
    clip_norm=None,  # [4] does not clip
    auxiliary_weight=0.0,  # [4] has no auxiliary head; the release has
    epochs=100,  # as [3]; [4] does not say
)
inception_resnet_v1 = replace(inception_v4, name="inception_resnet_v1")  # [4] sec. 4
inception_resnet_v2 = replace(inception_v4, name="inception_resnet_v2")  # [4] sec. 4

fine_tune = replace(
    inception_v3,
    name="fine_tune",
    optimizer="momentum",  # ours
    learning_rate=0.01,  # ours
    learning_rate_decay=0.8,  # ours
    epochs_per_decay=1,  # ours
    epochs=20,  # ours
    batch_norm_momentum=0.9,  # ours: small data makes few steps, 0.9997 would need 10,000s
    average_decay=0.99,  # ours, for the same reason
    augmentation="light",  # ours
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        googlenet,
        bn_inception,
        inception_v2,
        rmsprop,
        label_smoothing,
        factorized,
        bn_auxiliary,
        inception_v3,
        inception_v4,
        inception_resnet_v1,
        inception_resnet_v2,
        fine_tune,
    )
}


def get(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        InputError: if there is none; suggests near names and lists all.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def as_dict(recipe: Recipe) -> dict[str, str | int | float | None]:
    """Return the values of a recipe as plain types, as they go into a run's files."""
    return dataclasses.asdict(recipe)
