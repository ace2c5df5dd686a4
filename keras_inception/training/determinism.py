"""Repeatable training."""

import keras


def set_determinism(seed: int) -> None:
    """Seed everything and let TensorFlow use deterministic operations only.

    Seeds Python, NumPy and the Keras backend, forbids kernels whose result depends on the timing
    of threads, and makes `tf.data` keep its order. The price is speed, and Keras no longer
    compiles with XLA by itself. It holds for the process and cannot be undone.

    Args:
        seed: any whole number of at least 0.
    """
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
