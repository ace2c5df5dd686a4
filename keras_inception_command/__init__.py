"""The command `keras-inception`, started without what only its commands need.

`import keras_inception` imports Keras, and with it TensorFlow, which takes seconds. To show its
help, the command line needs neither: here the package is made known without being run, so that
each command imports those of its modules that it needs, when it is called.
"""

import importlib.util
import sys


def main() -> None:
    """Run the command line."""
    if "keras_inception" not in sys.modules:
        spec = importlib.util.find_spec("keras_inception")
        sys.modules["keras_inception"] = importlib.util.module_from_spec(spec)
    from keras_inception import cli

    cli.main()
