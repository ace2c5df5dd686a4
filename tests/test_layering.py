"""Imports point down: a module knows only what stands on a lower floor."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import keras_inception

PACKAGE = Path(keras_inception.__file__).parent

# Lowest first. A name stands for a module or a whole subpackage.
FLOORS = [
    {"errors", "files", "_version"},
    {"layers", "preprocessing", "recipes", "training_job", "class_names", "facts", "images"},
    {"blocks", "weights"},
    {"heads", "nets", "inspection", "pictures"},
    {"networks", "drawing"},
    {"models"},
    {"training", "evaluation", "data", "inference"},
    {"jobs"},
    {"cli"},
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}

# recipe.compile and recipe.callbacks hand over to training when they are called.
LATE = {("recipes", "training")}

HEAVY = (
    "tensorflow_datasets", "torch", "onnx", "openvino", "matplotlib", "sklearn", "PIL", "jax",
    "pooch",
)  # fmt: skip


# What only runs on JAX may begin by importing it; it is itself imported where it is needed.
FOR_JAX = {"training/jax_cluster.py", "training/jax_engine.py"}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree):
    """Yield (imported name, whether it happens on import, whether only for type checkers)."""
    guarded = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.unparse(test.test)
        for node in ast.walk(test)
    }
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) not in inside


def test_every_part_of_the_package_has_a_floor():
    assert {part(path) for path in modules()} - {"__init__"} == set(FLOOR)


def test_imports_point_down():
    wrong = []
    for path in modules():
        user = part(path)
        if user == "__init__":
            continue
        for name, _ in imports(ast.parse(path.read_text())):
            package, _, rest = name.partition(".")
            used = rest.partition(".")[0]
            if package != "keras_inception" or used in ("", user) or (user, used) in LATE:
                continue
            if used in FLOOR and FLOOR[used] > FLOOR[user]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {used}")
            if used in FLOOR and FLOOR[used] == FLOOR[user] and FLOOR[user] == FLOOR["training"]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {used} beside it")
    assert not wrong


def test_heavy_packages_are_imported_where_they_are_needed():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules()
        for name, on_import in imports(ast.parse(path.read_text()))
        if on_import and (top := name.partition(".")[0]) in HEAVY
        if not (top == "jax" and str(path.relative_to(PACKAGE)) in FOR_JAX)
    ]
    assert not wrong


def test_library_code_neither_asserts_nor_prints():
    for path in modules():
        tree = ast.parse(path.read_text())
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), path
        called = {getattr(n.func, "id", "") for n in ast.walk(tree) if isinstance(n, ast.Call)}
        assert "print" not in called, path


# What only those need who feed, measure or deploy a network.
ON_FIRST_USE = ("keras_inception.data", "keras_inception.evaluation", "keras_inception.inference")


def test_import_leaves_heavy_packages_alone():
    code = (
        "import sys, keras, numpy; before = set(sys.modules); import keras_inception;"
        f"print([m for m in {HEAVY + ON_FIRST_USE!r} if m in sys.modules and m not in before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_all_is_what_the_package_offers():
    for name in keras_inception.__all__:
        assert getattr(keras_inception, name) is not None


def test_names_that_come_on_first_use_are_offered_before():
    code = "import keras_inception as ki; print(sorted(dir(ki)) == sorted(ki.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "True"


def test_unknown_names_are_refused_as_python_does():
    with pytest.raises(AttributeError, match="module 'keras_inception' has no attribute 'Resnet'"):
        keras_inception.Resnet  # noqa: B018
