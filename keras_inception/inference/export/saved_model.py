"""TensorFlow's SavedModel: a folder that TensorFlow and TensorFlow Serving load."""

from pathlib import Path
from typing import Any

from keras_inception.inference.export import metadata
from keras_inception.inference.export.network import ENCODED, FEATURES, Network
from keras_inception.inference.runtimes.saved_model import SIGNATURE, save

FILE = "saved_model.pb"
OTHERS = (
    "assets/*",
    f"{metadata.SAVED_MODEL_FOLDER}/{metadata.FILE}",
    "fingerprint.pb",
    "variables/variables.*",
)


def write(network: Network, path: Path, facts: dict[str, Any], *_: Any) -> None:
    """Write a network as a SavedModel.

    Its signatures are `serving_default` and `features`, and with the preprocessing inside `encoded`
    too, which takes JPEG or PNG files.

    Args:
        network: to be written.
        path: of the folder; must not exist.
        facts: the metadata.
        *_: precision and calibration: the network is in its precision, and never int8.
    """
    signatures = {SIGNATURE: network.whole_function(), FEATURES: network.feature_function()}
    if network.inside == "all":
        signatures[ENCODED] = network.encoded_function()
    save(network.holder, path, signatures)
    metadata.write_to_saved_model(path, facts)
