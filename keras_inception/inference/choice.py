"""Which runtime and precision are the fastest as a rule, of those that this machine has."""

import importlib.util
from dataclasses import dataclass

from keras_inception.errors import InputError, unknown
from keras_inception.inference.precision import gpu_capability, native_bfloat16
from keras_inception.inference.runtimes import RUNTIMES

DTYPES = ("auto", "float32", "bfloat16")

# What must be installed to run a Keras network in a runtime.
_PACKAGES = {
    "tensorflow": (),
    "onnxruntime": ("onnxruntime", "tf2onnx"),
    "openvino": ("openvino",),
    "litert": (),
}

# Fastest first, as `keras-inception benchmark` measures them. ONNX Runtime and LiteRT compute in
# float32 only, which where bfloat16 is native is far slower.
_FASTEST = {
    "bfloat16": ("openvino", "tensorflow"),
    "float32": ("openvino", "onnxruntime", "tensorflow"),
}

# OpenVINO computes in bfloat16 by these instructions only, not by Arm's.
_OPENVINO_BFLOAT16 = ("amx_bf16", "avx512_bf16")

_FIRST_WITH_BFLOAT16 = (8, 0)  # NVIDIA's Ampere


@dataclass(frozen=True)
class Choice:
    """A runtime and a precision.

    Attributes:
        runtime: one of `RUNTIMES`.
        dtype: "float32" or "bfloat16".
        reason: why this dtype.
    """

    runtime: str
    dtype: str
    reason: str


def choose(runtime: str = "auto", dtype: str = "auto") -> Choice:
    """Choose how to run a Keras network.

    Args:
        runtime: one of `RUNTIMES`, or "auto": the first that is installed, in the order of what is
            fastest as a rule; TensorFlow on a GPU. Nothing is measured.
        dtype: one of `DTYPES`. "auto": bfloat16 if the CPU (the GPU, if there is one)
            multiplies it natively and the runtime computes in it, else float32.

    Raises:
        InputError: if either is unknown, or the runtime does not compute in the dtype.
    """
    if runtime != "auto" and runtime not in RUNTIMES:
        raise unknown("runtime", runtime, ("auto", *RUNTIMES))
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if runtime != "auto" and dtype == "bfloat16" and runtime not in _FASTEST[dtype]:
        able = " or ".join(_FASTEST[dtype])
        raise InputError(f"{runtime} does not compute in bfloat16; use float32, or {able}.")
    reason = "as asked"
    if dtype == "auto":
        dtype, reason = _dtype(runtime)
    if runtime == "auto":
        fastest = ("tensorflow",) if gpu_capability() else _FASTEST[dtype]
        runtime = next(name for name in fastest if _is_installed(name) and _has(name, dtype))
    return Choice(runtime, dtype, reason)


def _dtype(runtime: str) -> tuple[str, str]:
    capability = gpu_capability() if runtime in ("auto", "tensorflow") else None
    if capability:
        number = ".".join(map(str, capability))
        if capability >= _FIRST_WITH_BFLOAT16:
            return "bfloat16", f"the GPU has compute capability {number}"
        return "float32", f"the GPU's compute capability {number} has no bfloat16"
    flag = native_bfloat16()
    if flag is None:
        return "float32", "no native bfloat16 was found"
    if runtime not in ("auto", *_FASTEST["bfloat16"]):
        return "float32", f"{runtime} computes in nothing less"
    if not _has(runtime, "bfloat16"):
        return "float32", f"{runtime} does not use the CPU's {flag}"
    return "bfloat16", f"the CPU has {flag}"


def _has(runtime: str, dtype: str) -> bool:
    """Say whether a runtime that knows the dtype computes in it on this CPU."""
    return (runtime, dtype) != ("openvino", "bfloat16") or native_bfloat16() in _OPENVINO_BFLOAT16


def _is_installed(runtime: str) -> bool:
    return all(importlib.util.find_spec(package) for package in _PACKAGES[runtime])
