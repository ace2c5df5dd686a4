"""What every builder promises: the arguments of keras.applications and those of this package."""

import functools
import inspect

import keras
import numpy as np
import pytest

import keras_inception as ki
from tests.zoo import CASES, FEW_CASES, PAPER_CASES, Case, every


def images(model, batch=2, seed=0):
    shape = [75 if axis is None else axis for axis in model.input_shape[1:]]
    return np.random.default_rng(seed).uniform(-1, 1, (batch, *shape)).astype("float32")


@pytest.fixture(scope="module")
def small():
    """Return the small model of a case; built once, for tests that do not change it."""
    return functools.cache(lambda case: case.small())


@pytest.fixture
def channels_last(case, small):
    """The small model of a case, built before anything else is set."""
    return small(case)


@every(CASES, quick=FEW_CASES)
def test_saves_and_loads_in_safe_mode(case, small, tmp_path):
    model = small(case)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    predictions = np.asarray(model(images(model)))
    assert predictions.shape == (2, 5)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(again(images(model)), predictions)
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


@every(PAPER_CASES, quick=FEW_CASES[:1])
def test_learns_two_classes(case):
    keras.utils.set_random_seed(0)
    model = case.small(classes=2, dropout=0.0)
    x, y = images(model, batch=16), np.arange(16) % 2
    x[y == 1] += 0.5
    before = [np.array(weight.value) for weight in model.trainable_weights[-2:]]
    # Loss surfaces of such narrow networks are too steep for it to fall at every step.
    optimizer = keras.optimizers.Adam(1e-2)
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=True)
    first = float(model.train_on_batch(x, y))
    assert any(float(model.train_on_batch(x, y)) < 0.9 * first for _ in range(7))
    for weight, old in zip(model.trainable_weights[-2:], before, strict=True):
        assert np.any(np.asarray(weight.value) != old)


def test_without_batch_norm_differences_between_images_reach_the_end():
    keras.utils.set_random_seed(0)
    model = ki.GoogLeNet(weights=None, width=0.25, input_shape=(64, 64, 3))
    features = ki.feature_extractor(model, ["conv2d_1a", "inception_5b"])(images(model, batch=8))
    first, last = (np.std(values, axis=0).mean() for values in features.values())
    assert last > 0.05 * first


@every([case for case in CASES if case.aux])
def test_auxiliary_heads_are_named_outputs(case):
    model = case.small(aux_heads=True, input_shape=None)
    assert list(model.output) == ["predictions", *case.aux]
    assert all(output.shape == (None, 5) for output in model.output.values())
    names = {weight.path.partition("/")[0] for weight in model.weights}
    assert {f"{head}_logits" for head in case.aux} <= names


@pytest.mark.parametrize("name", ["GoogLeNet", "InceptionV3"])
def test_auxiliary_heads_train(name):
    model = ki.build(name, weights=None, width=0.05, classes=5, aux_heads=True)
    model.compile(
        "sgd", dict.fromkeys(model.output, "sparse_categorical_crossentropy"), run_eagerly=True
    )
    heads = [f"{head}_logits" for head in model.output if head != "predictions"]
    before = {head: np.array(model.get_layer(head).kernel) for head in heads}
    model.train_on_batch(images(model), dict.fromkeys(model.output, np.array([0, 1])))
    for head in heads:
        assert np.any(np.asarray(model.get_layer(head).kernel) != before[head])


@every(PAPER_CASES)
def test_predictions_are_the_activation_of_the_logits(case, small):
    model = small(case)
    both = ki.feature_extractor(model, ["logits", "predictions"])(images(model))
    expected = keras.ops.softmax(both["logits"])
    np.testing.assert_allclose(both["predictions"], expected, rtol=1e-5)
    sigmoid = case.small(classifier_activation="sigmoid")
    assert sigmoid.get_layer("predictions").activation is keras.activations.sigmoid
    assert case.small(classifier_activation=None).layers[-1].name == "logits"


@pytest.mark.parametrize("name", ["InceptionV3", "InceptionResNetV2"])
def test_without_top(name, small):
    case = next(case for case in PAPER_CASES if case.model == name)
    grid = case.small(include_top=False)
    assert grid.output_shape == small(case).get_layer("avg_pool").input.shape
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        model = case.small(include_top=False, pooling=pooling)
        model.set_weights(grid.get_weights())
        expected = reduce(np.asarray(grid(images(model))), axis=(1, 2))
        np.testing.assert_allclose(model(images(model)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case, shape", list(zip(PAPER_CASES, [
    (91, 107, 1), (80, 80, 5), (None, None, 3), (90, None, 1), (None, 100, 3), (76, 99, 4),
    (100, 80, 1),
], strict=True)), ids=lambda value: getattr(value, "id", str(value)))  # fmt: skip
def test_other_sizes_and_channels_work_with_the_top(case, shape):
    model = case.small(input_shape=shape)
    assert model.input_shape == (None, *shape)
    assert model(images(model)).shape == (2, 5)


def test_input_tensor_and_name():
    raw = keras.Input((90, 90, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(raw)
    arguments = {"weights": None, "width": 0.05, "classes": 5}
    model = ki.InceptionResNetV1(input_tensor=scaled, name="mine", **arguments)
    assert model.name == "mine"
    assert model.input is raw
    plain = ki.InceptionResNetV1(input_shape=(90, 90, 3), **arguments)
    plain.set_weights(model.get_weights())
    x = images(plain)
    np.testing.assert_allclose(model((x + 1) * 127.5), plain(x), rtol=1e-3, atol=1e-5)


@every(PAPER_CASES)
def test_channels_first_has_the_same_shapes_and_weights(case, channels_last, channels_first):
    model = case.small(input_shape=(3, case.size, case.size))
    assert {w.path: w.shape for w in model.weights} == {
        w.path: w.shape for w in channels_last.weights
    }
    features = model.get_layer("avg_pool").input.shape
    expected = channels_last.get_layer("avg_pool").input.shape
    assert (features[0], *features[2:], features[1]) == expected


@every(PAPER_CASES)
@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_head_is_float32_under_mixed_precision(case, policy):
    model = case.small()
    assert model.get_layer("predictions").compute_dtype == "float32"
    assert model.get_layer("logits").compute_dtype == "float32"
    assert model.get_layer("avg_pool").compute_dtype == "bfloat16"
    predictions = np.asarray(model(images(model)))
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions.sum(axis=1), 1, rtol=1e-5)


@every(PAPER_CASES)
def test_width_gives_multiples_of_eight(case, small):
    filters = [
        layer.filters
        for layer in small(case).layers
        if isinstance(layer, keras.layers.Conv2D) and not layer.name.endswith("_up")
    ]
    assert min(filters) == 8
    assert all(count % 8 == 0 for count in filters)
    assert small(case).get_layer("logits").units == 5


def test_width_multiplies():
    filters = [
        ki.GoogLeNet(weights=None, width=width).get_layer("inception_3a_branch1_conv2").filters
        for width in (0.5, 1.0, 2.0)
    ]
    assert filters == [64, 128, 256]


@every([*PAPER_CASES, Case("BNInception", "slim")])
def test_regulariser_momentum_and_dropout_reach_their_layers(case):
    has_norm = case.model != "GoogLeNet"
    momentum = {"batch_norm_momentum": 0.9} if has_norm else {}
    model = case.small(kernel_regularizer=keras.regularizers.L2(0.1), dropout=0.55, **momentum)
    assert model.get_layer("dropout").rate == 0.55
    kernels = [weight for weight in model.trainable_weights if weight.path.endswith("kernel")]
    assert len(kernels) == sum(weight.regularizer is not None for weight in model.weights)
    expected = 0.1 * sum(float(np.sum(np.square(kernel))) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)
    norms = [layer for layer in model.layers if isinstance(layer, ki.layers.BatchNormalization)]
    assert bool(norms) == has_norm
    assert all(norm.momentum == 0.9 for norm in norms)


@pytest.mark.parametrize("scales, expected", [(0.5, [0.5] * 3), ((0.1, 0.2, 0.3), [0.1, 0.2, 0.3])])
@pytest.mark.parametrize("model", ["InceptionResNetV1", "InceptionResNetV2"])
def test_residual_scales(model, scales, expected):
    built = ki.build(model, weights=None, width=0.05, residual_scales=scales)
    found = [built.get_layer(f"{block}_1").scale for block in ("block35", "block17", "block8")]
    assert found == expected


def test_facenet_bottleneck_and_embedding():
    arguments = {"weights": None, "architecture": "facenet", "input_shape": (80, 80, 3)}
    arguments |= {"include_top": False, "width": 0.1}
    raw = ki.InceptionResNetV1(pooling="bottleneck", **arguments)
    unit = ki.InceptionResNetV1(pooling="embedding", **arguments)
    unit.set_weights(raw.get_weights())
    codes = np.asarray(raw(images(raw)))
    assert codes.shape == (2, 48)
    expected = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    np.testing.assert_allclose(unit(images(raw)), expected, rtol=1e-5, atol=1e-7)


def test_builders_have_one_signature():
    shared = list(inspect.signature(keras.applications.InceptionV3).parameters)
    own = {"InceptionV2": ["stem"], "InceptionV3": ["stem_stride", "stem_pool"],
           "InceptionResNetV1": ["residual_scales"],
           "InceptionResNetV2": ["residual_scales"]}  # fmt: skip
    for name in ki.list_models():
        builder = getattr(ki, name)
        names = list(inspect.signature(builder).parameters)
        assert names[:8] == shared[:8]
        assert names[8:] == [
            "architecture", "aux_heads", "width", "dropout", "kernel_regularizer",
            "batch_norm_momentum", *own.get(name, []),
        ]  # fmt: skip
        assert builder.__name__ == name
        assert all(f"{argument}:" in builder.__doc__ for argument in names)
    assert ki.InceptionV1 is ki.GoogLeNet


# With its auxiliary head a network needs the grid of 17x17 that the head's 5x5 boxes leave 1x1 of.
SMALLEST = {
    "googlenet.paper": {False: 1, True: 65},
    "googlenet.torchvision": {False: 15},
    "bn_inception.paper": {False: 1},
    "inception_v2.paper": {False: 75, True: 299},
    "inception_v3.paper": {False: 75, True: 299},
    "inception_v4.paper": {False: 75, True: 299},
    "inception_resnet_v1.paper": {False: 75},
    "inception_resnet_v2.paper": {False: 75},
}


@every([*PAPER_CASES, Case("GoogLeNet", "torchvision")], quick=FEW_CASES)
def test_smallest_input_is_exact(case):
    for aux_heads, expected in SMALLEST[case.id].items():
        smallest = ki.smallest_input(case.model, case.architecture, aux_heads)
        assert smallest == expected
        small = {"aux_heads": aux_heads, "width": 0.05}
        case.build(input_shape=(smallest, smallest, 3), **small)
        if smallest > 1:
            with pytest.raises(ki.InputError, match=f"at least {smallest}x{smallest} pixels"):
                case.build(input_shape=(smallest, smallest - 1, 3), **small)


def test_too_small_names_everything():
    with pytest.raises(ki.InputError) as error:
        ki.InceptionV4(weights=None, input_shape=(60, 90, 3))
    for part in ("InceptionV4 (paper)", "60x90", "mixed_7a_branch0_conv2", "75x75"):
        assert part in str(error.value)
    with pytest.raises(ki.InputError, match="with its auxiliary heads cannot work on 75x75"):
        ki.InceptionV3(weights=None, input_shape=(75, 75, 3), aux_heads=True)


@pytest.mark.parametrize(
    "model, arguments, message",
    [
        ("InceptionV4", {"architecture": "paperr"}, "InceptionV4.*Did you mean paper"),
        ("InceptionV4", {"architecture": "slim"}, "Known: paper"),
        ("InceptionV4", {"classes": 0}, "classes is 0; expected a whole number of 1 or more"),
        ("InceptionV4", {"classes": 2.5}, "classes is 2.5; expected a whole number"),
        ("InceptionV4", {"include_top": False, "pooling": "mean"}, "pooling is 'mean'.*'avg'"),
        ("InceptionV4", {"include_top": False, "pooling": "embedding"}, "pooling is 'embedding'"),
        ("InceptionResNetV1", {"architecture": "facenet", "pooling": "embedding"},
         "pooling='embedding' is the output below the classes; it needs include_top=False."),
        ("InceptionResNetV1", {"architecture": "facenet", "pooling": "bottleneck"},
         "pooling='bottleneck' is the output"),
        ("InceptionV4", {"classes": np.float64(5)}, "classes is .*5.0.*; expected a whole number"),
        ("InceptionV4", {"classes": True}, "classes is True; expected a whole number"),
        ("InceptionV4", {"width": 0}, "width is 0; expected a positive number"),
        ("InceptionV4", {"width": "wide"}, "width is 'wide'; expected a positive number"),
        ("InceptionV4", {"dropout": 1.0}, "dropout is 1.0; expected a number from 0 up to"),
        ("InceptionV4", {"dropout": 0.1, "include_top": False}, "dropout=0.1 has nothing"),
        ("InceptionV4", {"batch_norm_momentum": -1}, "batch_norm_momentum is -1; expected"),
        ("GoogLeNet", {"batch_norm_momentum": 0.5}, "GoogLeNet .paper. has no batch normalisation"),
        ("BNInception", {"aux_heads": True}, "BNInception .paper. has no auxiliary heads"),
        ("InceptionV3", {"aux_heads": True, "include_top": False}, "needs include_top=True"),
        ("InceptionV4", {"input_shape": (299, 299)}, "input_shape is .299, 299.; expected three"),
        ("InceptionV4", {"input_shape": (0, 299, 3)}, "expected three positive numbers"),
        ("InceptionV4", {"input_shape": 299}, "input_shape is 299; expected three positive"),
        ("InceptionV4", {"input_tensor": np.ones((1, 299, 299, 3))},
         "input_tensor is a ndarray of shape .1, 299, 299, 3.; expected a symbolic tensor"),
        ("InceptionV4", {"input_tensor": keras.ops.ones((1, 75, 75, 3))},
         "Tensor of shape .1, 75, 75, 3.; expected a symbolic tensor"),
        ("InceptionV4", {"input_tensor": "images"}, "input_tensor is a str; expected a symbolic"),
        ("InceptionV4", {"input_shape": (299, 299, None)}, "known number of channels"),
        ("GoogLeNet", {"aux_heads": True, "input_shape": (None, None, 3)}, "need a fixed"),
        ("InceptionV2", {"stem": "8x8"}, "Unknown stem: '8x8'.*7x7"),
        ("InceptionResNetV1", {"residual_scales": (0.1, 0.2)}, "residual_scales is .0.1, 0.2."),
        ("GoogLeNet", {"input_shape": (3, 224, 224)}, "which has 224 channels, as keras.con"),
        ("InceptionResNetV2", {"residual_scales": None}, "residual_scales is None; expected one"),
        ("InceptionResNetV2", {"residual_scales": "0.1"}, "residual_scales is '0.1'; expected one"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(model, arguments, message):
    with pytest.raises(ki.InputError, match=message):
        ki.build(model, **{"weights": None} | arguments)


def test_numpy_numbers_are_numbers():
    shape = tuple(np.array([64, 65, 3]))
    model = ki.GoogLeNet(weights=None, width=0.05, classes=np.int64(5), input_shape=shape)
    assert model.output_shape == (None, 5) and model.input_shape == (None, 64, 65, 3)
    assert type(model.get_layer("logits").units) is int
    keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))


def test_input_tensor_and_shape_must_agree():
    with pytest.raises(ki.InputError, match="give only one of them"):
        ki.InceptionV4(weights=None, input_tensor=keras.Input((80, 80, 3)), input_shape=(90, 90, 3))


def test_arguments_of_another_network_are_refused():
    with pytest.raises(TypeError, match="InceptionV4: Unknown argument: 'residual_scales'"):
        ki.InceptionV4(weights=None, residual_scales=0.1)


def test_unknown_model_suggests_near_names():
    with pytest.raises(
        ki.InputError, match="Unknown model: 'inceptionv4'.* Did you mean InceptionV4"
    ):
        ki.build("inceptionv4")
