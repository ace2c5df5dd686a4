"""What this machine computes natively."""

import functools
import re
from pathlib import Path

# As Linux names them: matrix units and vector units of x86, and both of Arm.
_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")
_CPU_FACTS = Path("/proc/cpuinfo")


@functools.cache
def native_bfloat16(cpu_facts: Path = _CPU_FACTS) -> str | None:
    """Return by which instructions the CPU multiplies bfloat16 matrices.

    Args:
        cpu_facts: the file in which Linux describes the CPU.

    Returns:
        Such as "amx_bf16" or "avx512_bf16"; None if it has none, and where there is no such file
        (other systems than Linux): bfloat16 would be emulated, slower than float32.
    """
    try:
        text = cpu_facts.read_text()
    except OSError:
        return None
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    flags = set(lines[0].split()) if lines else set()
    return next((flag for flag in _BFLOAT16_FLAGS if flag in flags), None)


def gpu_capability() -> tuple[int, int] | None:
    """Return the compute capability of TensorFlow's first GPU; None if it has none.

    A GPU that says nothing of its capability, as those not of NVIDIA, counts as (0, 0).
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    details = tf.config.experimental.get_device_details(gpus[0])
    return details.get("compute_capability", (0, 0))
