"""How long importing and building take, against Keras: `python benchmarks/build_time.py`.

Measures in fresh processes, the sides in turns: what `import keras_inception` adds to
`import keras`; and building the full-size Inception-ResNet-v2 here and in `keras.applications`.
Prints medians and writes `benchmarks/build_time.json`.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

RESULT = Path(__file__).with_suffix(".json")
ROUNDS = 3

PROGRAMS = {
    "import keras_inception, after keras": "import keras_inception",
    "build keras.applications.InceptionResNetV2": (
        "keras.applications.InceptionResNetV2(weights=None)"
    ),
    "build InceptionResNetV2 (paper)": "ki.InceptionResNetV2(weights=None)",
    "build InceptionResNetV2 (slim)": "ki.InceptionResNetV2(weights=None, architecture='slim')",
}


def seconds(program: str) -> float:
    """Return how long a line takes in a fresh process that has imported Keras before."""
    before = "import keras_inception as ki; " if "ki." in program else ""
    code = (
        f"import time, keras; {before}keras.Input((1,)); began = time.perf_counter(); {program}; "
        "print(time.perf_counter() - began)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure, print and write the results."""
    times = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            times[name].append(seconds(program))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:45} {median:6.2f} s")
    RESULT.write_text(json.dumps({"rounds": ROUNDS, **medians}, indent=2) + "\n")


if __name__ == "__main__":
    main()
