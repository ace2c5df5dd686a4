"""What a file holds, judged by its bytes and not by its name."""

import codecs
import enum
import zipfile
from pathlib import Path

# A model.json holds the topology too; those of the Inception family take less than 2 MB.
MAX_JSON_BYTES = 32 * 2**20

_UNPACK = "Unpack it and give the file inside, or use `keras-inception weights download`."
_SAVE_STATE_DICT = "Load it where it was made and save model.state_dict() with torch.save."


class Content(enum.Enum):
    """A kind of file.

    Attributes:
        phrase: how a message calls the kind, with its article.
        advice: what to do with a file of this kind that cannot be read, or "".
    """

    HDF5 = "an HDF5 file (Keras .h5)"
    KERAS = "a .keras archive"
    SAFETENSORS = "a safetensors file"
    TENSORFLOW = "a TensorFlow checkpoint"
    TORCH = "a torch file"
    ONNX = "an ONNX model"
    CAFFEMODEL = "a caffemodel"
    TFJS = "a TensorFlow.js model.json"

    EMPTY = "an empty file", "The download was cut off: fetch it again."
    HTML = "a web page", "The server sent a page instead of the file: fetch it again."
    LFS_POINTER = "a Git LFS pointer", "Run `git lfs pull`, or download the file itself."
    BROKEN_ZIP = "a zip archive without its end", "The download was cut off: fetch it again."
    ZIP = "a zip archive", _UNPACK
    GZIP = "a gzip archive", _UNPACK
    TAR = "a tar archive", _UNPACK
    OTHER_ARCHIVE = "a compressed archive", _UNPACK
    NPZ = "an .npz archive", "Load it with numpy.load and pass the arrays on."
    NPY = "an .npy file", "Load it with numpy.load and pass the array on."
    TORCHSCRIPT = "a TorchScript archive, which holds code", _SAVE_STATE_DICT
    TORCH_TAR = "a torch file of 2016 (tar), which only an unsafe pickle opens", _SAVE_STATE_DICT
    PICKLE = "a Python pickle, which could run code and is never opened", _SAVE_STATE_DICT
    GRAPHDEF = "a TensorFlow graph", "Give the checkpoint (.ckpt or .index) that belongs to it."
    SAVED_MODEL = "a TensorFlow SavedModel", "Give variables/variables.index of its folder."
    TFLITE = "a TensorFlow Lite model", "Give the checkpoint that it was converted from."
    MXNET = "an MXNet .params file", "Give the publisher's torch or TensorFlow file."
    JSON = "a JSON file without weightsManifest", "Give the model.json of a layers model."
    TEXT = "a text file"
    UNKNOWN = "data of no known format", "It may be cut off: compare its size with the publisher's."

    def __init__(self, phrase: str, advice: str = ""):
        """Split the value of a member into its two parts."""
        self.phrase = phrase
        self.advice = advice


_MAGIC = (
    (b"version https://git-lfs.github.com/spec/", Content.LFS_POINTER),
    (b"\x1f\x8b", Content.GZIP),
    (b"BZh", Content.OTHER_ARCHIVE),
    (b"\xfd7zXZ\x00", Content.OTHER_ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", Content.OTHER_ARCHIVE),
    (b"\x93NUMPY", Content.NPY),
    (b"\x12\x01\x00\x00\x00\x00\x00\x00", Content.MXNET),
)
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_TABLE_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # the last bytes of every LevelDB table
_TORCH_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # torch.serialization.MAGIC_NUMBER as pickled
_TORCH_TAR_MEMBERS = {b"sys_info", b"pickle", b"storages", b"tensors"}
_HTML_STARTS = ("<!doctype", "<html", "<head", "<?xml")
_ONNX_TAGS = b"\x12\x1a\x22\x28\x32\x3a\x42"  # fields 2 to 8 of ModelProto
_CAFFE_TAGS = b"\x12\x1a\x20\x28\x32\x38\x42\xa2"  # fields 2 to 8 and 100 of NetParameter
_MAX_SAFETENSORS_HEADER = 100_000_000  # the limit that the format sets
_HEAD_BYTES = 4096


def recognise(path: Path) -> Content:
    """Return what the file seems to be.

    Args:
        path: a regular file.

    Returns:
        The kind; `Content.UNKNOWN` where nothing fits. Only the marks of a format are looked at,
        so a file that is damaged further on still counts as its kind.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_TABLE_MAGIC)))
        tail = file.read(len(_TABLE_MAGIC))
    if not head:
        return Content.EMPTY
    for magic, content in _MAGIC:
        if head.startswith(magic):
            return content
    # HDF5 allows a block of the user's own in front, of 512 bytes or twice, four times ... that.
    if any(head.startswith(_HDF5_MAGIC, offset) for offset in (0, 512, 1024, 2048)):
        return Content.HDF5
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_content(path)
    if tail == _TABLE_MAGIC:
        return Content.TENSORFLOW
    if head[257:262] == b"ustar":
        first_member = head[:100].rstrip(b"\x00")
        return Content.TORCH_TAR if first_member in _TORCH_TAR_MEMBERS else Content.TAR
    # Before pickles, as the length of its header can begin like one.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_SAFETENSORS_HEADER:
        return Content.SAFETENSORS
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return Content.TORCH if _TORCH_MAGIC in head[:32] else Content.PICKLE
    return _text_content(path, head, size) or _protobuf_content(head) or Content.UNKNOWN


def _zip_content(path: Path) -> Content:
    """Tell the zip-based formats apart by the names of their members."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return Content.BROKEN_ZIP
    if any(name.endswith("/constants.pkl") for name in names):
        return Content.TORCHSCRIPT
    if any(name.endswith("/data.pkl") for name in names):
        return Content.TORCH
    if {"config.json", "metadata.json"} <= set(names):
        return Content.KERAS
    if names and all(name.endswith(".npy") for name in names):
        return Content.NPZ
    return Content.ZIP


def _protobuf_content(head: bytes) -> Content | None:
    """Guess the message type from its first fields: protobuf has no mark of its own."""
    if head[4:8] == b"TFL3":
        return Content.TFLITE
    if head[0] == 0x08 and head[2:3] in _ONNX_TAGS:
        # Field 1 is a small number: ONNX's ir_version, 3 or more, or SavedModel's version, 1.
        return Content.ONNX if head[1:2] >= b"\x03" else Content.SAVED_MODEL
    if head.startswith(b"\xa2\x06"):  # field 100, the layers of a caffe network without a name
        return Content.CAFFEMODEL
    if head[0] == 0x0A:  # field 1 has a length: caffe's network name, or a graph's first node
        length, start = _varint(head, 1)
        end = start + length
        if head[start : start + 1] in (b"\x0a", b"\x12"):  # a message, so no name
            return Content.GRAPHDEF
        if head[start:end].isascii() and head[end : end + 1] in _CAFFE_TAGS:
            return Content.CAFFEMODEL
    return None


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """Decode a protobuf varint; return it and the position behind it."""
    value = 0
    for shift, position in enumerate(range(start, min(start + 10, len(data)))):
        value |= (data[position] & 0x7F) << (7 * shift)
        if data[position] < 0x80:
            return value, position + 1
    return value, len(data)


def _text_content(path: Path, head: bytes, size: int) -> Content | None:
    """Tell the text formats apart."""
    try:
        # The decoder for pieces bears with a last character that is cut.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    if not all(character.isprintable() or character.isspace() for character in text):
        return None
    text = text.lstrip().lower()
    if text.startswith(_HTML_STARTS):
        return Content.HTML
    if text.startswith("{"):
        is_tfjs = size <= MAX_JSON_BYTES and b'"weightsManifest"' in path.read_bytes()
        return Content.TFJS if is_tfjs else Content.JSON
    return Content.TEXT
