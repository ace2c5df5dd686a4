"""Write docs/drawings/*.svg from the networks themselves: `python docs/render_drawings.py`."""

from rendering import DOCS, write

import keras_inception as ki
from keras_inception.drawing import draw
from keras_inception.networks import NETWORKS

DRAWINGS = DOCS / "drawings"


def render(name: str) -> str:
    """Return the drawing of a network as printed, with the auxiliary heads that it has.

    Args:
        name: of its builder.
    """
    has_heads = bool(NETWORKS[name].architectures["paper"].aux)
    return draw(ki.build(name, weights=None, aux_heads=has_heads), name)


if __name__ == "__main__":
    write({DRAWINGS / f"{name}.svg": render(name) for name in ki.list_models()})
