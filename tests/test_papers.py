"""The networks against the papers: totals, grids, and every figure box by box."""

import pytest

import keras_inception as ki
from keras_inception.inspection import blocks, multiply_adds, parameters
from tests.figures import drawn, expand

# Trainable parameters and multiply-adds for 1000 classes at the paper's input size.
TOTALS = {
    "GoogLeNet": (6_998_552, 1_582_671_872),
    "InceptionV3": (23_834_568, 5_713_216_096),
    "InceptionV4": (42_679_816, 12_253_974_624),
    "InceptionResNetV1": (22_756_328, 6_206_361_696),
    "InceptionResNetV2": (32_433_928, 9_257_953_632),
}

# Block to (grid, depth), as the tables and figures print them.
GRIDS = {
    "GoogLeNet": {  # table 1
        "conv2d_1a": (112, 64), "max_pool_2a": (56, 64), "conv2d_2c": (56, 192),
        "max_pool_3a": (28, 192), "inception_3a": (28, 256), "inception_3b": (28, 480),
        "max_pool_4a": (14, 480), "inception_4a": (14, 512), "inception_4b": (14, 512),
        "inception_4c": (14, 512), "inception_4d": (14, 528), "inception_4e": (14, 832),
        "max_pool_5a": (7, 832), "inception_5a": (7, 832), "inception_5b": (7, 1024),
    },
    "BNInception": {  # figure 5
        "max_pool_3a": (28, 192), "inception_3a": (28, 256), "inception_3b": (28, 320),
        "inception_3c": (14, 576), "inception_4a": (14, 576), "inception_4b": (14, 576),
        "inception_4c": (14, 576), "inception_4d": (14, 576), "inception_4e": (7, 1024),
        "inception_5a": (7, 1024), "inception_5b": (7, 1024),
    },
    "InceptionV2": {  # table 1
        "conv2d_1a": (149, 32), "conv2d_2a": (147, 32), "conv2d_2b": (147, 64),
        "max_pool_3a": (73, 64), "conv2d_3b": (71, 80), "conv2d_4a": (35, 192),
        "conv2d_4b": (35, 288), "mixed_5d": (35, 288), "mixed_6a": (17, 768),
        "mixed_6f": (17, 768), "mixed_7a": (8, 1280), "mixed_7b": (8, 2048), "mixed_7c": (8, 2048),
    },
    "InceptionV3": {
        "conv2d_2b": (147, 64), "conv2d_3b": (73, 80), "conv2d_4a": (71, 192),
        "max_pool_5a": (35, 192), "mixed_5b": (35, 256), "mixed_5c": (35, 288),
        "mixed_5d": (35, 288), "mixed_6a": (17, 768), "mixed_6e": (17, 768),
        "mixed_7a": (8, 1280), "mixed_7b": (8, 2048), "mixed_7c": (8, 2048),
    },
    "InceptionV4": {  # figures 3 and 9
        "conv2d_2b": (147, 64), "mixed_3a": (73, 160), "mixed_4a": (71, 192),
        "mixed_5a": (35, 384), "mixed_5e": (35, 384), "mixed_6a": (17, 1024),
        "mixed_6h": (17, 1024), "mixed_7a": (8, 1536), "mixed_7d": (8, 1536),
    },
    "InceptionResNetV1": {  # figures 14 and 15
        "conv2d_4b": (35, 256), "block35_5": (35, 256), "mixed_6a": (17, 896),
        "block17_10": (17, 896), "mixed_7a": (8, 1792), "block8_5": (8, 1792),
    },
    "InceptionResNetV2": {  # figures 3 and 15
        "mixed_5a": (35, 384), "block35_5": (35, 384), "mixed_6a": (17, 1152),
        "block17_10": (17, 1152), "mixed_7a": (8, 2144), "block8_5": (8, 2144),
    },
}  # fmt: skip

_V4_STEM = {
    "conv2d_1a": "32 3x3/2 V",
    "conv2d_2a": "32 3x3 V",
    "conv2d_2b": "64 3x3",
    "mixed_3a": "maxpool 3x3/2 V | 96 3x3/2 V",
    "mixed_4a": "64 1x1 > 96 3x3 V | 64 1x1 > 64 1x7 > 64 7x1 > 96 3x3 V",
    "mixed_5a": "192 3x3/2 V | maxpool 3x3/2 V",
}


def _googlenet(ones, reduce_3, threes, reduce_5, fives, projection):
    return (
        f"{ones} 1x1 | {reduce_3} 1x1 > {threes} 3x3 | {reduce_5} 1x1 > {fives} 5x5 "
        f"| maxpool 3x3 > {projection} 1x1"
    )


def _bn_inception(ones, reduce_3, threes, reduce_double, doubles, pool, projection):
    return (
        f"{ones} 1x1 | {reduce_3} 1x1 > {threes} 3x3 | {reduce_double} 1x1 > {doubles} 3x3 "
        f"> {doubles} 3x3 | {pool}pool 3x3 > {projection} 1x1"
    )


def _reduction_a(k, l, m, n):  # noqa: E741
    return f"maxpool 3x3/2 V | {n} 3x3/2 V | {k} 1x1 > {l} 3x3 > {m} 3x3/2 V"


def _v3_b(c):
    return (
        f"192 1x1 | {c} 1x1 > {c} 1x7 > 192 7x1 "
        f"| {c} 1x1 > {c} 7x1 > {c} 1x7 > {c} 7x1 > 192 1x7 | avgpool 3x3 > 192 1x1"
    )


_V3_C = (
    "320 1x1 | 384 1x1 > (384 1x3, 384 3x1) | 448 1x1 > 384 3x3 > (384 1x3, 384 3x1) "
    "| avgpool 3x3 > 192 1x1"
)
_V2_A = "64 1x1 | 48 1x1 > 64 3x3 | 64 1x1 > 96 3x3 > 96 3x3 | avgpool 3x3 > 64 1x1"
_V4_A = "avgpool 3x3 > 96 1x1 | 96 1x1 | 64 1x1 > 96 3x3 | 64 1x1 > 96 3x3 > 96 3x3"
# The release's order of 1x7 and 7x1, and of 1x3 and 3x1, in the long branches of v4.
_V4_B = (
    "avgpool 3x3 > 128 1x1 | 384 1x1 | 192 1x1 > 224 1x7 > 256 7x1 "
    "| 192 1x1 > 192 7x1 > 224 1x7 > 224 7x1 > 256 1x7"
)
_V4_C = (
    "avgpool 3x3 > 256 1x1 | 256 1x1 | 384 1x1 > (256 1x3, 256 3x1) "
    "| 384 1x1 > 448 3x1 > 512 1x3 > (256 3x1, 256 1x3)"
)


def _blocks(prefix, letters, figure):
    return {f"{prefix}{letter}": figure for letter in letters}


FIGURES = {
    "GoogLeNet": {  # table 1
        "conv2d_1a": "64 7x7/2", "max_pool_2a": "maxpool 3x3/2", "conv2d_2b": "64 1x1",
        "conv2d_2c": "192 3x3", "max_pool_3a": "maxpool 3x3/2", "max_pool_4a": "maxpool 3x3/2",
        "max_pool_5a": "maxpool 3x3/2",
        "inception_3a": _googlenet(64, 96, 128, 16, 32, 32),
        "inception_3b": _googlenet(128, 128, 192, 32, 96, 64),
        "inception_4a": _googlenet(192, 96, 208, 16, 48, 64),
        "inception_4b": _googlenet(160, 112, 224, 24, 64, 64),
        "inception_4c": _googlenet(128, 128, 256, 24, 64, 64),
        "inception_4d": _googlenet(112, 144, 288, 32, 64, 64),
        "inception_4e": _googlenet(256, 160, 320, 32, 128, 128),
        "inception_5a": _googlenet(256, 160, 320, 32, 128, 128),
        "inception_5b": _googlenet(384, 192, 384, 48, 128, 128),
    },
    "BNInception": {  # figure 5; the projections of 4c and 4d as the printed output needs them
        "conv2d_1a": "64 7x7/2", "conv2d_2b": "64 1x1", "conv2d_2c": "192 3x3",
        "inception_3a": _bn_inception(64, 64, 64, 64, 96, "avg", 32),
        "inception_3b": _bn_inception(64, 64, 96, 64, 96, "avg", 64),
        "inception_3c": "128 1x1 > 160 3x3/2 | 64 1x1 > 96 3x3 > 96 3x3/2 | maxpool 3x3/2",
        "inception_4a": _bn_inception(224, 64, 96, 96, 128, "avg", 128),
        "inception_4b": _bn_inception(192, 96, 128, 96, 128, "avg", 128),
        "inception_4c": _bn_inception(160, 128, 160, 128, 160, "avg", 96),
        "inception_4d": _bn_inception(96, 128, 192, 160, 192, "avg", 96),
        "inception_4e": "128 1x1 > 192 3x3/2 | 192 1x1 > 256 3x3 > 256 3x3/2 | maxpool 3x3/2",
        "inception_5a": _bn_inception(352, 192, 320, 160, 224, "avg", 128),
        "inception_5b": _bn_inception(352, 192, 320, 192, 224, "max", 128),
    },
    "InceptionV2": {  # table 1, figures 5, 6, 7 and 10
        "conv2d_1a": "32 3x3/2 V", "conv2d_2a": "32 3x3 V", "conv2d_2b": "64 3x3",
        "max_pool_3a": "maxpool 3x3/2 V", "conv2d_3b": "80 3x3 V", "conv2d_4a": "192 3x3/2 V",
        "conv2d_4b": "288 3x3",
        **_blocks("mixed_5", "bcd", _V2_A),
        "mixed_6a": "64 1x1 > 384 3x3/2 V | 64 1x1 > 96 3x3 > 96 3x3/2 V | maxpool 3x3/2 V",
        "mixed_6b": _v3_b(128), "mixed_6c": _v3_b(160), "mixed_6d": _v3_b(160),
        "mixed_6e": _v3_b(160), "mixed_6f": _v3_b(192),
        "mixed_7a": "192 1x1 > 320 3x3/2 V | 192 1x1 > 192 3x3 > 192 3x3/2 V | maxpool 3x3/2 V",
        **_blocks("mixed_7", "bc", _V3_C),
    },
    "InceptionV3": {
        "conv2d_1a": "32 3x3/2 V", "conv2d_2a": "32 3x3 V", "conv2d_2b": "64 3x3",
        "max_pool_3a": "maxpool 3x3/2 V", "conv2d_3b": "80 1x1 V", "conv2d_4a": "192 3x3 V",
        "max_pool_5a": "maxpool 3x3/2 V",
        **{
            f"mixed_5{letter}": "64 1x1 | 48 1x1 > 64 5x5 | 64 1x1 > 96 3x3 > 96 3x3 "
            f"| avgpool 3x3 > {projection} 1x1"
            for letter, projection in zip("bcd", (32, 64, 64), strict=True)
        },
        "mixed_6a": "384 3x3/2 V | 64 1x1 > 96 3x3 > 96 3x3/2 V | maxpool 3x3/2 V",
        "mixed_6b": _v3_b(128), "mixed_6c": _v3_b(160), "mixed_6d": _v3_b(160),
        "mixed_6e": _v3_b(192),
        "mixed_7a": "192 1x1 > 320 3x3/2 V | 192 1x1 > 192 1x7 > 192 7x1 > 192 3x3/2 V "
        "| maxpool 3x3/2 V",
        **_blocks("mixed_7", "bc", _V3_C),
    },
    "InceptionV4": {
        **_V4_STEM,  # figure 3
        **_blocks("mixed_5", "bcde", _V4_A),  # figure 4
        "mixed_6a": _reduction_a(k=192, l=224, m=256, n=384),  # figure 7, table 1
        **_blocks("mixed_6", "bcdefgh", _V4_B),  # figure 5
        "mixed_7a": "maxpool 3x3/2 V | 192 1x1 > 192 3x3/2 V "
        "| 256 1x1 > 256 1x7 > 320 7x1 > 320 3x3/2 V",  # figure 8
        **_blocks("mixed_7", "bcd", _V4_C),  # figure 6
    },
    "InceptionResNetV1": {
        "conv2d_1a": "32 3x3/2 V", "conv2d_2a": "32 3x3 V", "conv2d_2b": "64 3x3",
        "max_pool_3a": "maxpool 3x3/2 V", "conv2d_3b": "80 1x1", "conv2d_4a": "192 3x3 V",
        "conv2d_4b": "256 3x3/2 V",  # figure 14
        "block35_1_concat": "32 1x1 | 32 1x1 > 32 3x3 | 32 1x1 > 32 3x3 > 32 3x3",  # figure 10
        "mixed_6a": _reduction_a(k=192, l=192, m=256, n=384),  # figure 7, table 1
        "block17_10_concat": "128 1x1 | 128 1x1 > 128 1x7 > 128 7x1",  # figure 11
        "mixed_7a": "maxpool 3x3/2 V | 256 1x1 > 384 3x3/2 V | 256 1x1 > 256 3x3/2 V "
        "| 256 1x1 > 256 3x3 > 256 3x3/2 V",  # figure 12
        "block8_5_concat": "192 1x1 | 192 1x1 > 192 1x3 > 192 3x1",  # figure 13
    },
    "InceptionResNetV2": {
        **_V4_STEM,  # figure 3
        "block35_5_concat": "32 1x1 | 32 1x1 > 32 3x3 | 32 1x1 > 48 3x3 > 64 3x3",  # figure 16
        "mixed_6a": _reduction_a(k=256, l=256, m=384, n=384),  # figure 7, table 1
        "block17_1_concat": "192 1x1 | 128 1x1 > 160 1x7 > 192 7x1",  # figure 17
        "mixed_7a": "maxpool 3x3/2 V | 256 1x1 > 384 3x3/2 V | 256 1x1 > 288 3x3/2 V "
        "| 256 1x1 > 288 3x3 > 320 3x3/2 V",  # figure 18
        "block8_1_concat": "192 1x1 | 192 1x1 > 224 1x3 > 256 3x1",  # figure 19
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=list(GRIDS))
def network(request):
    return request.param, ki.build(request.param, weights=None)


def test_totals_and_blocks_add_up(network):
    name, model = network
    if name in TOTALS:
        assert (parameters(model), multiply_adds(model)) == TOTALS[name]
    assert sum(block.parameters for block in blocks(model)) == parameters(model)
    assert sum(block.multiply_adds for block in blocks(model)) == multiply_adds(model)


def test_grids_and_depths(network):
    name, model = network
    shapes = ki.endpoints(model)
    assert {block: (shapes[block][0], shapes[block][2]) for block in GRIDS[name]} == GRIDS[name]


def test_every_box_of_every_figure(network):
    name, model = network
    for block, figure in FIGURES[name].items():
        assert drawn(model, block) == expand(figure), f"{name}, {block}"


def test_residual_blocks_are_counted_scaled_and_linear(network):
    name, model = network
    counts = {"InceptionResNetV1": (5, 10, 5), "InceptionResNetV2": (5, 10, 5)}.get(name, (0, 0, 0))
    for kind, count, scale in zip(("35", "17", "8"), counts, (0.17, 0.10, 0.20), strict=True):
        sums = [layer for layer in model.layers if layer.name.startswith(f"block{kind}_")
                and isinstance(layer, ki.layers.ScaledResidual)]  # fmt: skip
        assert [layer.scale for layer in sums] == [scale] * count
        for layer in sums:
            up = model.get_layer(f"{layer.name}_up")
            assert (up.kernel_size, up.use_bias) == ((1, 1), True)
            assert up.activation.__name__ == "linear"
            assert layer.activation.__name__ == "relu"


def test_auxiliary_heads_of_googlenet():
    model = ki.GoogLeNet(weights=None, aux_heads=True)
    assert parameters(model) == 13_378_280
    assert drawn(model, "aux1_logits") == ["avgpool 5x5/3 V > 128 1x1"]
    assert model.get_layer("aux1_pool").output.shape[1:] == (4, 4, 512)
    assert model.get_layer("aux2_pool").output.shape[1:] == (4, 4, 528)
    assert model.get_layer("aux1_dropout").rate == 0.7


def test_batch_normalised_auxiliary_head_of_v3():
    model = ki.InceptionV3(weights=None, aux_heads=True)
    assert drawn(model, "aux_logits") == ["avgpool 5x5/3 V > 128 1x1 > 768 5x5 V"]
    assert model.get_layer("aux_conv1").output.shape[1:] == (5, 5, 128)
    assert model.get_layer("aux_conv2").output.shape[1:] == (1, 1, 768)
    assert isinstance(model.get_layer("aux_conv2_bn"), ki.layers.BatchNormalization)
    # torchvision counts 27,161,264 with this head, whose batch norms have gamma and beta as ours.
    assert parameters(model) == 27_161_264


def test_unfactorised_stem_of_v2_reaches_the_same_grid():
    model = ki.InceptionV2(weights=None, stem="7x7")
    assert drawn(model, "conv2d_1a") == ["64 7x7/2 V"]
    assert ki.endpoints(model)["conv2d_1a"] == (147, 147, 64)
    assert "conv2d_2a" not in ki.endpoints(model)


@pytest.mark.slow
def test_dropout_rates():
    rates = {"GoogLeNet": 0.4, "InceptionV3": 0.2, "InceptionV4": 0.2, "InceptionResNetV2": 0.2}
    for name, rate in rates.items():
        model = ki.build(name, weights=None, width=0.05)
        assert model.get_layer("dropout").rate == pytest.approx(rate)
    bn_inception = ki.BNInception(weights=None, width=0.05)
    assert "dropout" not in {layer.name for layer in bn_inception.layers}
