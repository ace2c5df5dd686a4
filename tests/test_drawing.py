"""A drawing shows exactly what the network holds, and what the paper's figure shows."""

import re
from collections import Counter
from itertools import combinations
from xml.etree import ElementTree

import keras
import pytest
from keras import layers

import keras_inception as ki
from keras_inception.cli.draw import draw as draw_command
from keras_inception.drawing import draw
from keras_inception.errors import InputError
from keras_inception.networks import NETWORKS
from tests import scripts
from tests.test_papers import FIGURES

render_drawings = scripts.load("docs", "render_drawings")

SVG = "{http://www.w3.org/2000/svg}"
SIZE = re.compile(r"(\d)×(\d)(?: /(\d))?")

# Convolutions, and V marks on convolutions and on pools, counted in the papers' figures and tables.
COUNTS = {
    "GoogLeNet": (57, 0, 0),
    "BNInception": (69, 0, 0),
    "InceptionV2": (105, 8, 3),
    "InceptionV3": (94, 8, 4),
    "InceptionV4": (149, 10, 4),
    "InceptionResNetV1": (127, 9, 3),
    "InceptionResNetV2": (132, 11, 4),
}


def words(element):
    return [text.text for text in element.iter(f"{SVG}text")]


def shown(svg):
    """Read from an SVG, for each block: (its times, the boxes in the notation of the figures)."""
    blocks = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if "data-block" in group.attrib:
            blocks[group.get("data-block")] = (int(group.get("data-times")), boxes(group))
    return blocks


def boxes(group):
    found = []
    for element in group.iter(f"{SVG}g"):
        kind, lines = element.get("class"), words(element)
        if kind == "v":
            found[-1] += " V"
        elif kind == "conv":
            found.append(f"{lines[1]} {notation(lines[0])}")
        elif kind == "pool" and lines[1] != "global":
            found.append(f"{lines[0].replace(' ', '')} {notation(lines[1])}")
    return found


def notation(size):
    height, width, stride = SIZE.fullmatch(size).groups()
    return f"{height}x{width}" + (f"/{stride}" if stride else "")


def convolutions(model):
    """Describe every convolution of a model, without looking at how it is drawn."""
    linear = {f"{layer.name}_up" for layer in model.layers}
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            (height, width), stride = layer.kernel_size, layer.strides[0]
            name = f"{layer.filters} linear" if layer.name in linear else f"{layer.filters}"
            valid = layer.padding == "valid" and layer.name not in linear
            yield (
                f"{name} {height}x{width}"
                + (f"/{stride}" if stride > 1 else "")
                + (" V" if valid else "")
            )


@pytest.fixture(scope="module", params=list(COUNTS))
def drawing(request):
    name = request.param
    has_heads = bool(NETWORKS[name].architectures["paper"].aux)
    model = ki.build(name, weights=None, aux_heads=has_heads)
    return name, model, draw(model, name)


def test_every_convolution_is_drawn_once(drawing):
    _, model, svg = drawing
    drawn = Counter()
    for times, found in shown(svg).values():
        for box in found:
            drawn[box] += times * ("pool" not in box)
    assert +drawn == Counter(convolutions(model))


def test_boxes_are_those_of_the_figures(drawing):
    name, _, svg = drawing
    compared = 0
    blocks = shown(svg)
    for block, figure in FIGURES[name].items():
        residual = re.fullmatch(r"(block\d+)_\d+_concat", block)
        block = f"{residual[1]}_1" if residual else block
        if block not in blocks:  # drawn once together with its equal neighbour before
            continue
        drawn = [box for box in blocks[block][1] if "linear" not in box]
        assert Counter(drawn) == Counter(figure_boxes(figure)), block
        compared += 1
    trunk = [b for b in blocks if not re.match("aux|avg_pool|logits|predictions", b)]
    assert compared >= len(trunk) - 2  # the two pools of BN-Inception's stem have no row


def figure_boxes(figure):
    """List the boxes of a figure in notation; what two arms share counts once."""
    found = []
    for branch in figure.split("|"):
        found += [box for box in re.split(r">|,|\(|\)", branch) if box.strip()]
    return [" ".join(box.split()) for box in found]


def test_counts_and_v_marks_are_those_of_the_papers(drawing):
    name, _, svg = drawing
    found = Counter()
    for block, (times, drawn) in shown(svg).items():
        for box in drawn if not block.startswith("aux") else ():
            pool = "pool" in box
            found["convolutions"] += times * (not pool)
            found["V pools" if pool else "V"] += times * box.endswith(" V")
    assert (found["convolutions"], found["V"], found["V pools"]) == COUNTS[name]


def test_blocks_are_counted_scaled_and_on_their_grids(drawing):
    name, model, svg = drawing
    times = {block: count for block, (count, _) in shown(svg).items() if count > 1}
    residual = {"block35_1": 5, "block17_1": 10, "block8_1": 5}
    assert (
        times
        == {
            "GoogLeNet": {},
            "BNInception": {},
            "InceptionV2": {"mixed_5b": 3, "mixed_6c": 3, "mixed_7b": 2},
            "InceptionV3": {"mixed_5c": 2, "mixed_6c": 2, "mixed_7b": 2},
            "InceptionV4": {"mixed_5b": 4, "mixed_6b": 7, "mixed_7b": 3},
            "InceptionResNetV1": residual,
            "InceptionResNetV2": residual,
        }[name]
    )
    texts = words(ElementTree.fromstring(svg))
    scales = [text for text in texts if re.fullmatch(r"× 0\.\d+", text)]
    assert scales == (["× 0.17", "× 0.1", "× 0.2"] if times == residual else [])
    assert texts.count("then ReLU") == len(scales)
    grids = {"×".join(map(str, shape)) for shape in ki.endpoints(model).values() if len(shape) == 3}
    assert grids <= set(texts)


def test_nothing_is_cut_off_or_overlaps(drawing):
    _, _, svg = drawing
    root = ElementTree.fromstring(svg)
    width, height = map(float, root.get("viewBox").split()[2:])
    rectangles = [
        tuple(float(rect.get(side)) for side in ("x", "y", "width", "height"))
        for kind in ("conv", "pool", "norm", "head", "join")
        for group in root.iter(f"{SVG}g")
        if group.get("class") == kind
        for rect in group.iter(f"{SVG}rect")
    ]
    assert len(rectangles) > 40
    for x, y, w, h in rectangles:
        assert 0 < x < x + w < width and 0 < y < y + h < height
    for (x, y, w, h), (u, v, s, t) in combinations(rectangles, 2):
        assert x + w <= u or u + s <= x or y + h <= v or v + t <= y


def test_committed_drawings_are_fresh(drawing):
    name, _, svg = drawing
    committed = render_drawings.DRAWINGS / f"{name}.svg"
    assert committed.read_text(encoding="utf-8") == svg, "run `python docs/render_drawings.py`"


def test_no_drawing_is_left_over():
    assert {path.stem for path in render_drawings.DRAWINGS.glob("*.svg")} == set(ki.list_models())


def test_auxiliary_heads_stand_on_their_blocks():
    model = ki.GoogLeNet(weights=None, width=0.05, aux_heads=True, classes=7)
    blocks = shown(draw(model))
    assert blocks["aux1_logits"] == (1, ["avgpool 5x5/3 V", "8 1x1"])
    assert {"aux1_predictions", "aux2_logits", "aux2_predictions"} <= set(blocks)
    texts = words(ElementTree.fromstring(draw(model)))
    assert texts.count("7") == 4  # three heads, and the arrow to the softmax
    assert "auxiliary heads included" in " ".join(texts)


def test_a_model_in_front_is_not_drawn():
    image = keras.Input((64, 64, 3))
    flipped = keras.Model(image, keras.layers.RandomFlip()(image))
    whole = keras.Input((64, 64, 3))
    model = ki.GoogLeNet(weights=None, width=0.05, input_tensor=flipped(whole))
    alone = ki.GoogLeNet(weights=None, width=0.05, input_shape=(64, 64, 3))
    assert draw(model) == draw(alone)


def test_padding_by_a_layer_of_its_own_is_not_valid():
    model = ki.BNInception(weights=None, architecture="caffe", width=0.05)
    assert not any(box.endswith(" V") for _, found in shown(draw(model)).values() for box in found)


def test_other_heads_and_sizes():
    embedding = ki.InceptionResNetV1(
        weights=None,
        architecture="facenet",
        include_top=False,
        pooling="embedding",
        input_shape=(None, None, 3),
        width=0.05,
    )
    svg = draw(embedding, "a <name> & more")
    texts = words(ElementTree.fromstring(svg))
    assert "a <name> & more" in texts
    assert "unit length" in texts and "×".join(["?", "?", "3"]) in texts
    assert "multiply-adds" not in " ".join(texts)  # not known for every size
    assert shown(svg)["block8_6"][0] == 1  # unscaled and without ReLU, unlike the five before
    assert "× 1" in texts


def test_a_model_of_other_origin_is_refused():
    other = keras.Sequential([layers.Input((4,)), layers.Dense(2)], name="other")
    with pytest.raises(InputError, match="other has none of the blocks"):
        draw(other)


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw_command("InceptionV4", width=0.05)
    draw_command("BNInception", "slim", tmp_path / "new" / "bn.svg", width=0.05, image_size=64)
    assert capsys.readouterr().out.split() == ["InceptionV4.svg", str(tmp_path / "new" / "bn.svg")]
    assert "InceptionV4" in words(ElementTree.parse("InceptionV4.svg").getroot())
    slim = ElementTree.parse(tmp_path / "new" / "bn.svg").getroot()
    assert {"BNInception (slim)", "8 separable", "64×64×3"} <= set(words(slim))
    with pytest.raises(InputError, match="Did you mean InceptionV4"):
        draw_command("InceptionV44")
