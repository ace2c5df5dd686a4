"""A sheet of SVG: boxes, lines and words, in colours for a light and a dark page."""

from html import escape

from keras_inception.drawing.reading import Box

BOX_WIDTH, BOX_HEIGHT = 84, 38
_LETTER = 6.9  # mean width of a letter in the 12-pixel type

_COLOURS = {  # class: property: (on a light page, on a dark one)
    ".page": {"fill": ("#ffffff", "#0d1117")},
    ".frame": {"fill": ("#f6f8fa", "#161b22"), "stroke": ("#d0d7de", "#3d444d")},
    ".conv rect": {"fill": ("#ddebff", "#12305c"), "stroke": ("#3f7ad6", "#5b97f0")},
    ".pool rect": {"fill": ("#ffe9d1", "#4a2f10"), "stroke": ("#c97b1c", "#dd9a47")},
    ".norm rect": {"fill": ("#dcf5e3", "#123d22"), "stroke": ("#2f9350", "#4cb571")},
    ".head rect": {"fill": ("#efe5ff", "#362357"), "stroke": ("#8257d6", "#a98af0")},
    ".join rect": {"fill": ("#e4e8ec", "#2b323b"), "stroke": ("#8c959f", "#7d8590")},
    ".sum": {"fill": ("#ffffff", "#0d1117"), "stroke": ("#59636e", "#9198a1")},
    ".line": {"stroke": ("#59636e", "#9198a1")},
    ".tip": {"fill": ("#59636e", "#9198a1")},
    "text": {"fill": ("#1f2328", "#f0f6fc")},
    ".quiet": {"fill": ("#59636e", "#9198a1")},
    ".v rect": {"fill": ("#b3261e", "#f2746b"), "stroke": ("#b3261e", "#f2746b")},
    ".v text": {"fill": ("#ffffff", "#0d1117")},
}

_TYPE = """\
svg.ki-drawing:root { color-scheme: light dark; }
.ki-drawing text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; \
text-anchor: middle; }
.ki-drawing .strong { font-weight: 700; }
.ki-drawing .title { font-size: 20px; font-weight: 700; }
.ki-drawing .left { text-anchor: start; }
.ki-drawing .right { text-anchor: end; }
.ki-drawing .v text { font-size: 10px; font-weight: 700; }
.ki-drawing .line, .ki-drawing .sum { stroke-width: 1.3; }
.ki-drawing .line { fill: none; }
"""


class Sheet:
    """Collects what is drawn, and remembers how far it reaches.

    Attributes:
        right: the largest x that anything reaches.
        bottom: the largest y.
    """

    def __init__(self) -> None:
        self.right = 0.0
        self.bottom = 0.0
        self._parts: list[str] = []

    def line(self, *points: tuple[float, float], arrow: bool = False) -> None:
        """Draw a line through points, with an arrow's tip downwards at its end on request."""
        self._reach(*map(max, zip(*points, strict=True)))
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(f'<polyline class="line" points="{path}"/>')
        if arrow:
            x, y = points[-1]
            self._parts.append(f'<path class="tip" d="M{x:g} {y:g}l-4-7h8z"/>')

    def text(self, x: float, y: float, words: str, style: str = "") -> None:
        """Write words on one line; `style` names classes: strong, quiet, title, left, right."""
        width = len(words) * _LETTER * (1.7 if "title" in style else 1)
        self._reach(x + width * (1 if "left" in style else 0 if "right" in style else 0.5), y)
        named = f' class="{style}"' if style else ""
        self._parts.append(f'<text{named} x="{x:g}" y="{y:g}">{escape(words)}</text>')

    def box(self, x: float, y: float, box: Box) -> None:
        """Draw a box of the usual size whose upper edge has its middle at (x, y)."""
        left = x - BOX_WIDTH / 2
        self._parts.append(f'<g class="{box.kind}"><title>{escape(box.layer)}</title>')
        self._rectangle(left, y, BOX_WIDTH, BOX_HEIGHT)
        first = y + (16 if len(box.lines) > 1 else 24)
        for number, words in enumerate(box.lines):
            self.text(x, first + 15 * number, words, "strong" if number == 0 else "")
        self._parts.append("</g>")
        if box.valid:
            self._parts.append('<g class="v">')
            self._rectangle(left + BOX_WIDTH - 9, y - 6, 15, 15)
            self.text(left + BOX_WIDTH - 1.5, y + 5, "V")
            self._parts.append("</g>")

    def bar(self, x: float, y: float, width: float, height: float, words: str) -> None:
        """Draw the bar in which branches join."""
        self._parts.append('<g class="join">')
        self._rectangle(x - width / 2, y, width, height)
        self.text(x, y + height / 2 + 4, words)
        self._parts.append("</g>")

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """Draw the frame of a block; x is its middle."""
        self._reach(x + width / 2, y + height)
        self._parts.append(
            f'<rect class="frame" x="{x - width / 2:g}" y="{y:g}" '
            f'width="{width:g}" height="{height:g}" rx="9"/>'
        )

    def plus(self, x: float, y: float, radius: float) -> None:
        """Draw the sign of a sum around (x, y)."""
        self._parts.append(f'<circle class="sum" cx="{x:g}" cy="{y:g}" r="{radius:g}"/>')
        arm = radius - 4
        self.line((x - arm, y), (x + arm, y))
        self.line((x, y - arm), (x, y + arm))

    def begin(self, block: str, times: int) -> None:
        """Begin the group of a block's elements; `times` is how many equal ones it stands for."""
        self._parts.append(f'<g data-block="{escape(block)}" data-times="{times}">')

    def end(self) -> None:
        """End the group."""
        self._parts.append("</g>")

    def svg(self, title: str, margin: float) -> str:
        """Return the document: everything that was drawn, and a margin at the right and below."""
        width, height = self.right + margin, self.bottom + margin
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" class="ki-drawing" role="img" '
                f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">',
                f"<title>{escape(title)}</title>",
                f"<style>\n{_TYPE}{_colours()}</style>",
                '<rect class="page" width="100%" height="100%"/>',
                *self._parts,
                "</svg>\n",
            ]
        )

    def _rectangle(self, x: float, y: float, width: float, height: float) -> None:
        self._reach(x + width, y + height)
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"/>'
        )

    def _reach(self, x: float, y: float) -> None:
        self.right, self.bottom = max(self.right, x), max(self.bottom, y)


def text_width(words: str) -> float:
    """Return about how wide words are, in pixels."""
    return len(words) * _LETTER


def _colours() -> str:
    """Return the rules of colour; what does not know `light-dark` keeps the light ones."""
    rules = []
    for selector, properties in _COLOURS.items():
        values = "".join(
            f" {name}: {light}; {name}: light-dark({light}, {dark});"
            for name, (light, dark) in properties.items()
        )
        rules.append(f".ki-drawing {selector} {{{values} }}\n")
    return "".join(rules)
