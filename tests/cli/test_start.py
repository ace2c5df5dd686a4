"""How the command starts: at once for its help, and without lines that nobody asked for."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_inception
from keras_inception.cli import quiet

HELP_OF_ALL = """
import sys
import typer
import keras_inception_command as command

sys.argv = ["keras-inception", "--help"]
try:
    command.main()
except SystemExit as end:
    assert not end.code
from keras_inception import cli
commands = typer.main.get_command(cli.app).commands
names = [[name] for name in commands] + [["weights", name] for name in commands["weights"].commands]
for name in names:
    sys.argv = ["keras-inception", *name, "--help"]
    try:
        command.main()
    except SystemExit as end:
        assert not end.code
print(len(names), [m for m in ("tensorflow", "keras", "jax", "torch") if m in sys.modules])
"""


def run(*arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, *arguments], env=kept | environment, capture_output=True, text=True
    )


def test_help_imports_neither_tensorflow_nor_keras():
    done = run("-c", HELP_OF_ALL, COLUMNS="160")
    assert done.returncode == 0, done.stderr
    count, _, imported = done.stdout.splitlines()[-1].partition(" ")
    assert int(count) >= 12
    assert imported == "[]"
    assert "fine_tune" in done.stdout and "inception_resnet_v2" in done.stdout  # the recipes
    assert "[default: (0.05)]" in done.stdout  # a value of the main job's recipe


def test_list_is_whole_in_80_columns_and_alone():
    done = run("-m", "keras_inception_command", "list", COLUMNS="80")
    assert done.returncode == 0
    assert done.stderr == ""
    headings = ["network", "architecture", "parameters", "mult-adds", "input", "least", "weights"]
    assert headings in [line.split() for line in done.stdout.splitlines()]
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_mistakes_are_one_line_from_the_command_too(tmp_path):
    done = run("-m", "keras_inception_command", "evaluate", "--model", tmp_path, "--data", "digits")
    assert done.returncode == 2
    assert (
        done.stderr == f"keras-inception: {tmp_path} is no run folder: it holds no model.keras.\n"
    )


def test_only_greetings_are_held_back(capfd):
    with quiet._without_greetings():
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are\n")
        os.write(2, b"I0000 00:00:1795.1 886 port.cc:153] oneDNN custom operations are on.\n")
        os.write(2, b"E0000 00:00:1795.1 886 cuda.cc:1] no driver\nI am no log line\n")
    assert (
        capfd.readouterr().err == "E0000 00:00:1795.1 886 cuda.cc:1] no driver\nI am no log line\n"
    )


def test_what_was_held_back_is_shown_if_the_import_fails(capfd):
    with pytest.raises(ImportError), quiet._without_greetings():
        os.write(2, b"cannot open libsomething\n")
        raise ImportError
    assert capfd.readouterr().err == "cannot open libsomething\n"


def test_no_module_takes_the_public_names_of_the_package():
    """The command never runs the package's `__init__`, so that they do not exist there."""
    package = Path(keras_inception.__file__).parent
    modules = {path.stem for path in package.glob("*")}
    for path in package.rglob("*.py"):
        if path == package / "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert "keras_inception" not in {alias.name for alias in node.names}, path
            if isinstance(node, ast.ImportFrom) and node.module == "keras_inception":
                assert {alias.name for alias in node.names} <= modules, path
