"""Lays a network out on a sheet: the image above, the classes below, a frame for every block."""

import keras

from keras_inception import inspection
from keras_inception.drawing.reading import Block, Branch, Diagram, is_auxiliary, read
from keras_inception.drawing.sheet import BOX_HEIGHT, BOX_WIDTH, Sheet, text_width

_GAP_X, _GAP_Y = 12, 16
_COLUMN = BOX_WIDTH + _GAP_X
_PADDING = 14  # between a frame and what is in it
_HEADER = 30  # of a frame: its name
_BUS = 12  # from a split to the line that serves its branches
_BAR = 22  # height of a concatenation
_SKIP = 26  # room at the left of a residual block for the way around its branches
_FORK = 10  # from where that way begins to where the branches split
_ARROW = 34  # between blocks, with the grid beside it
_RADIUS = 10  # of a sum
_MARGIN = 24


def draw(model: keras.Model, title: str | None = None) -> str:
    """Draw a network as the papers draw theirs, from its graph.

    Every block is drawn once with its branches: kernels, filters, strides, a V at boxes with valid
    padding, the residual's scale; equal blocks that follow each other are drawn once with their
    number; beside each arrow stands the grid, height x width x depth. A box's layer is its tooltip.

    Args:
        model: a network of this package: built, loaded or fine-tuned.
        title: what stands above; default: the model's name.

    Returns:
        An SVG document of its own, readable on light and on dark pages.

    Raises:
        InputError: if the model has none of this package's blocks.

    Example:
        >>> import keras_inception as ki
        >>> draw(ki.GoogLeNet(weights=None, width=0.1)).startswith("<svg")
        True
    """
    diagram = read(model)
    title = title or model.name
    sheet = Sheet()
    middle = _MARGIN + max(_width(group) for group in diagram.trunk) / 2
    y = _heading(sheet, model, title, diagram)
    sheet.text(middle, y + 12, "image", "strong")
    y = _arrow(sheet, middle, y + 18, diagram.input_shape)
    feet = {}
    for group in diagram.trunk:
        y = _group(sheet, group, middle, y)
        feet[group[-1].name] = y
        if group is not diagram.trunk[-1]:
            y = _arrow(sheet, middle, y, group[-1].shape)
    side = sheet.right + _GAP_X + BOX_WIDTH / 2
    for foot, head in diagram.heads.items():
        _auxiliary(sheet, head, side, (middle, feet[foot]))
    return sheet.svg(title, _MARGIN)


def _heading(sheet: Sheet, model: keras.Model, title: str, diagram: Diagram) -> float:
    """Write what the drawing is, and how it is read; return where it ends."""
    sheet.text(_MARGIN, 36, title, "title left")
    facts = [f"{inspection.parameters(model) / 1e6:.1f} M parameters"]
    if None not in diagram.input_shape:
        facts.append(f"{inspection.multiply_adds(model) / 1e9:.2f} G multiply-adds")
    if diagram.heads:
        facts.append("auxiliary heads included")
    after = "batch normalisation and ReLU" if diagram.batch_norm else "ReLU"
    lines = [
        ", ".join(facts),
        f"Blue: convolution, kernel and filters; then {after}.",
        "/2: stride. V: valid padding, else same.",
    ]
    for number, line in enumerate(lines):
        sheet.text(_MARGIN, 58 + 17 * number, line, "quiet left")
    return 58 + 17 * len(lines) + 8


def _group(sheet: Sheet, group: list[Block], x: float, y: float) -> float:
    """Draw equal blocks once, from (x, y) down; return where they end."""
    block = group[0]
    sheet.begin(block.name, len(group))
    if block.depth is None:
        bottom = _boxes(sheet, block.branches[0], x, y)
        _name(sheet, block, x, bottom)
    else:
        bottom = _framed(sheet, group, x, y)
    sheet.end()
    return bottom


def _name(sheet: Sheet, block: Block, x: float, bottom: float) -> None:
    """Write the name of a block without a frame beside its last box, away from the trunk."""
    side, style = (1, "left") if is_auxiliary(block.name) else (-1, "right")
    beside = x + side * (BOX_WIDTH / 2 + 10)
    sheet.text(beside, bottom - BOX_HEIGHT / 2 + 4, block.name, f"quiet {style}")


def _boxes(sheet: Sheet, branch: Branch, x: float, y: float) -> float:
    """Draw the boxes of a branch one below the other; return where they end."""
    for number, box in enumerate(branch.boxes):
        if number:
            sheet.line((x, y), (x, y + _GAP_Y))
            y += _GAP_Y
        sheet.box(x, y, box)
        y += BOX_HEIGHT
    return y


def _framed(sheet: Sheet, group: list[Block], x: float, y: float) -> float:
    block = group[0]
    residual = block.scale is not None
    columns = sum(map(_columns, block.branches))
    rows = max(map(_rows, block.branches))
    width = _width(group)
    start = y + _HEADER + (_FORK if residual else 0)
    joined = start + _BUS + rows * (BOX_HEIGHT + _GAP_Y) + _BUS * _forks(block)
    bottom = joined + _BAR + _PADDING + (_tail_height(block) if residual else 0)
    sheet.frame(x, y, width, bottom - y)
    sheet.text(x - width / 2 + _PADDING, y + 20, _names(group), "strong left")
    if len(group) > 1:
        sheet.text(x + width / 2 - _PADDING, y + 20, _times(group), "strong right")
    centre = x + (_SKIP / 2 if residual else 0)
    _split(sheet, block.branches, centre - columns * _COLUMN / 2, centre, start, joined)
    sheet.bar(centre, joined, columns * _COLUMN - _GAP_X, _BAR, f"concatenation {block.depth}")
    if residual:
        around = x - width / 2 + _PADDING
        sheet.line((centre, start - _FORK), (centre, start))
        _residual_tail(sheet, block, centre, joined + _BAR, (around, start - _FORK))
    return bottom


def _split(
    sheet: Sheet, branches: tuple[Branch, ...], left: float, x: float, y: float, bottom: float
) -> None:
    """Draw branches side by side, from the point (x, y) down to where they join."""
    for branch in branches:
        width = _columns(branch) * _COLUMN
        middle = left + width / 2
        top = y + _BUS
        sheet.line((x, y), (x, top - _BUS / 2), (middle, top - _BUS / 2), (middle, top))
        end = _boxes(sheet, branch, middle, top)
        if branch.arms:
            _split(sheet, branch.arms, left, middle, end, bottom)
        else:
            sheet.line((middle, end), (middle, bottom), arrow=True)
        left += width


def _residual_tail(
    sheet: Sheet, block: Block, x: float, y: float, around: tuple[float, float]
) -> None:
    """Draw the linear convolution, the scale, and the sum with what goes around the branches."""
    sheet.line((x, y), (x, y + _GAP_Y))
    y += _GAP_Y
    sheet.box(x, y, block.linear)
    y += BOX_HEIGHT
    plus = y + _ARROW
    sheet.line((x, y), (x, plus - _RADIUS), arrow=True)
    sheet.text(x + 8, y + 15, f"× {block.scale:g}", "strong left")
    sheet.plus(x, plus, _RADIUS)
    left, top = around
    sheet.line((x, top), (left, top), (left, plus), (x - _RADIUS, plus))
    if block.activation:
        sheet.text(x + _RADIUS + 8, plus + 4, f"then {block.activation}", "left")


def _tail_height(block: Block) -> float:
    return _GAP_Y + BOX_HEIGHT + _ARROW + _RADIUS


def _auxiliary(sheet: Sheet, head: list[Block], x: float, foot: tuple[float, float]) -> None:
    """Draw an auxiliary head in a column of its own, from the foot of its block."""
    y = foot[1] + _ARROW - 8
    sheet.line((foot[0], y), (x, y), (x, y + _GAP_Y), arrow=True)
    y += _GAP_Y
    for block in head:
        y = _group(sheet, [block], x, y) if block is head[0] else _next(sheet, block, x, y)


def _next(sheet: Sheet, block: Block, x: float, y: float) -> float:
    sheet.line((x, y), (x, y + _GAP_Y))
    return _group(sheet, [block], x, y + _GAP_Y)


def _arrow(sheet: Sheet, x: float, y: float, shape: tuple[int | None, ...]) -> float:
    """Draw the arrow to the next block with the grid beside it; return where it ends."""
    sheet.line((x, y), (x, y + _ARROW), arrow=True)
    grid = "×".join("?" if side is None else str(side) for side in shape)
    sheet.text(x + 9, y + 16, grid, "quiet left")
    return y + _ARROW


def _width(group: list[Block]) -> float:
    """Return how wide a group is, names included."""
    block = group[0]
    if block.depth is None:
        return BOX_WIDTH + 2 * (10 + text_width(block.name))
    drawn = sum(map(_columns, block.branches)) * _COLUMN - _GAP_X
    if block.scale is not None:
        drawn += _SKIP
    header = text_width(f"{_names(group)}  {_times(group)}") * 1.1
    return max(drawn, header) + 2 * _PADDING


def _columns(branch: Branch) -> int:
    return max(1, sum(map(_columns, branch.arms)))


def _rows(branch: Branch) -> int:
    return len(branch.boxes) + max(map(_rows, branch.arms), default=0)


def _forks(block: Block) -> bool:
    return any(branch.arms for branch in block.branches)


def _names(group: list[Block]) -> str:
    first, last = group[0].name, group[-1].name
    return first if first == last else f"{first} … {last}"


def _times(group: list[Block]) -> str:
    return f"× {len(group)}" if len(group) > 1 else ""
