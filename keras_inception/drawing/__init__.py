"""Drawings of networks as SVG, made from the built model."""

from keras_inception.drawing.svg import draw

__all__ = ["draw"]
