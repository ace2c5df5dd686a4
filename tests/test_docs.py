"""README and docs say what the code does: tables are fresh, every snippet and command runs.

The Python snippets of a page run one after the other in one process, its `keras-inception`
commands one after the other, both in an empty folder and offline; what is trained on `PICTURES` is
trained small. A comment above a snippet that says "not run by the tests", such as
`<!-- downloads: not run by the tests -->`, keeps it from running: then its syntax, names and flags
are checked. Every other command is listed here, with what executes it.
"""

import argparse
import ast
import inspect
import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import keras_inception as ki
from keras_inception import cli, recipes
from keras_inception.facts import facts
from keras_inception.models import BUILDERS
from keras_inception.networks import NETWORKS
from keras_inception.training_job import DIGITS_RECIPE
from tests import scripts
from tests.test_layering import FLOORS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
CI = ROOT / ".ci" / "run"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SLOW_PAGES = {  # they train, or build many networks
    "README.md",
    "choosing_a_network.md",
    "distributed.md",
    "drawings.md",
    "evaluation.md",
    "export.md",
    "get_started.md",
    "moving_from_others.md",
    "serving.md",
    "speed.md",
    "training.md",
    "transfer_learning.md",
}
TABLE = re.compile(r"(<!-- networks: [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
SNIPPET = re.compile(
    r"(?:^<!-- (?P<comment>[^\n]*) -->\n)?^```(?P<language>python|(?:ba)?sh)\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
KNOWN_VALUES = {
    "recipe": [DIGITS_RECIPE.name, *recipes.RECIPES],
    "strategy": ("none", "mirrored", "multi_worker"),
}

PICTURES = "path/to/pictures"
SMALL = ["--width", "0.05", "--image-size", "75", "--epochs", "1", "--batch-size", "4"]
# Commands of the pages and the words by which .ci/run executes them; its last two are README's.
IN_CI = {
    "python -m venv .venv": "python3 -m venv",
    ". .venv/bin/activate": "/bin/activate",
    "ruff check .": "ruff check .",
    "ruff format --check .": "ruff format --check .",
    "mkdocs build --strict": "mkdocs build --strict",
    "pip install -e '.[dev]'": 'pip install --quiet -e ".[dev]"',
    "pip install -e '.[test]'": 'pip install --quiet -e ".[dev]"',  # dev brings test, test train
    "pip install '.[train]'": '.whl)[train]"',
    "python -m pytest -n 2": 'eval "$command"',
}
# Commands that a test runs, and its words.
IN_TESTS = {"keras-inception train": ("tests/cli/test_train.py", 'run_cli("train")')}
# Before a release, in an environment of several gigabytes.
BY_HAND = {
    "pip install -e '.[test,parity]'",
    "pip install --no-deps facenet-pytorch pretrainedmodels munch",
    "python -m pytest -m parity tests/parity",
}
FOREIGN = (
    "curl",
    "docker",
    "export",
    "pip",
    "srun",
)  # only in snippets that say why they do not run

render_networks = scripts.load("docs", "render_networks")
render_speed = scripts.load("docs", "render_speed")
render_benchmarks = scripts.load("docs", "render_benchmarks")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    language: str
    code: str
    runs: bool

    @property
    def commands(self):
        """The commands of a shell snippet, each a list of words, without variables before it."""
        text = ""
        for line in self.code.replace("\\\n", " ").splitlines():
            text += f"{line}\n"
            try:
                words = shlex.split(text, comments=True)
            except ValueError:  # a quotation goes on in the next line
                continue
            text = ""
            for between, command in itertools.groupby(words, "&&".__eq__):
                if not between:
                    yield list(itertools.dropwhile(re.compile(r"\w+=").match, command))
        assert not text, f"a quotation does not end: {text}"


def snippets(page):
    found = []
    for match in SNIPPET.finditer(page.read_text(encoding="utf-8")):
        language = match["language"].removeprefix("ba")
        runs = "not run by the tests" not in (match["comment"] or "")
        found.append(Snippet(language, match["code"], runs))
    return found


def pages(language, runs):
    """Parametrise by the pages that have such snippets."""
    found = []
    for page in PAGES:
        chosen = [s for s in snippets(page) if s.language == language and s.runs == runs]
        name = page.relative_to(ROOT).as_posix()
        slow = [pytest.mark.slow] if runs and page.name in SLOW_PAGES else []
        if chosen:
            found.append(pytest.param(chosen, id=name, marks=slow))
    return pytest.mark.parametrize("chosen", found)


def parsed(words):
    """Parse the words of a `keras-inception` command as the command line does; run nothing."""
    command, arguments = typer.main.get_command(cli.app), words[1:]
    context = None
    while hasattr(command, "commands"):
        name = arguments[0]
        assert name in command.commands, f"no command {name}"
        context = command.make_context(words[0], [], parent=context, resilient_parsing=True)
        command, arguments = command.commands[name], arguments[1:]
    return command.make_context(command.name, list(arguments), parent=context).params


def parse_script(path, arguments, monkeypatch):
    """Run a script up to the point where its own parser has accepted the arguments."""
    if "parse_args" not in path.read_text():
        assert not arguments, f"{path.name} takes no arguments"
        return
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser):
        parse(parser)
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patch.setattr(sys, "argv", [str(path), *arguments])
        patch.syspath_prepend(path.parent)
        with pytest.raises(InterruptedError):
            runpy.run_path(path, run_name="__main__")


def write_pictures(folder):
    """Write a small folder of classes, and a picture beside it."""
    rng = np.random.default_rng(0)
    for kind in ("brick", "sand", "wood"):
        (folder / PICTURES / kind).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (60, 80, 3), "uint8")
            Image.fromarray(pixels).save(folder / PICTURES / kind / f"{number}.png")
    Image.fromarray(pixels).save(folder / "picture.jpg")


def resolve(name):
    """Return what a dotted name that begins with `ki` stands for."""
    value = ki
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


def render_table():
    rows = [
        "| network | paper | architectures | parameters | multiply-adds | input |\n"
        "|---|---|---|---:|---:|---:|\n"
    ]
    for name, architectures in facts().items():
        fact, paper = architectures["paper"], NETWORKS[name].paper
        number = re.search(r"arXiv:(\S+)", paper)[1]
        link = f"[{paper.partition(',')[0]}](https://arxiv.org/abs/{number})"
        forms = ", ".join(f"`{form}`" for form in architectures)
        rows.append(
            f"| `{name}` | {link} | {forms} | {fact.parameters / 1e6:.1f} M "
            f"| {fact.multiply_adds / 1e9:.2f} G | {fact.input_size} |\n"
        )
    return "".join(rows)


def with_table(text):
    return TABLE.sub(lambda match: match[1] + render_table() + match[2], text)


def test_table_of_networks_is_fresh():
    text = README.read_text()
    assert text == with_table(text), "run `python -m tests.regenerate`"


@pytest.mark.parametrize("script", [render_networks, render_benchmarks])
def test_rendered_parts_are_fresh(script):
    for path, content in script.render().items():
        fresh = path.read_text(encoding="utf-8") == content
        assert fresh, f"{path.name}: run `python docs/{script.__name__}.py`"


def test_every_benchmark_that_is_rendered_has_its_place_and_script(tmp_path):
    for name, (page, _) in render_benchmarks.PARTS.items():
        assert f"<!-- {name}: " in (DOCS / page).read_text(encoding="utf-8")
        assert (ROOT / "benchmarks" / f"{name}.py").exists()
        assert f"benchmarks/{name}.py" in render_benchmarks.part(name, tmp_path)


def test_every_page_is_in_the_navigation_once():
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [page.relative_to(DOCS).as_posix() for page in PAGES if DOCS in page.parents]
    assert sorted(named) == sorted(pages)


def test_pages_have_snippets():
    assert sum(len(snippets(page)) for page in PAGES) > 30
    assert {s.runs for page in PAGES for s in snippets(page)} == {True, False}


@pages("python", runs=True)
def test_python_runs(chosen, tmp_path):
    script = tmp_path / "snippets.py"
    script.write_text("\n".join(snippet.code for snippet in chosen))
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env={**os.environ, "KERAS_INCEPTION_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pages("python", runs=False)
def test_python_that_does_not_run_names_what_there_is(chosen):
    for snippet in chosen:
        for node in ast.walk(ast.parse(snippet.code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("keras_inception"):
                module = __import__(node.module, fromlist=["*"])
                assert all(hasattr(module, alias.name) for alias in node.names)
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("ki."):
                check_keywords(node)


def check_keywords(call):
    known = inspect.signature(resolve(ast.unparse(call.func))).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        given = {keyword.arg for keyword in call.keywords}
        assert given <= set(known), ast.unparse(call)


@pages("sh", runs=True)
def test_commands_run(chosen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "1")
    write_pictures(tmp_path)
    for words in (words for snippet in chosen for words in snippet.commands):
        command = shlex.join(words)
        if command in IN_CI or command in IN_TESTS or command in BY_HAND:
            continue
        assert words[0] == "keras-inception", f"nothing executes {command}"
        small = SMALL if words[1] == "train" and PICTURES in words else []
        monkeypatch.setattr(sys, "argv", [*words, *small])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code, command


@pytest.mark.parametrize("where", [IN_CI, IN_TESTS], ids=["ci", "tests"])
def test_commands_are_executed_where_it_is_said(where):
    used = {shlex.join(w) for page in PAGES for s in snippets(page) if s.runs for w in s.commands}
    assert where.keys() <= used, "a command that no page has"
    for said in where.values():
        file, words = (CI, said) if where is IN_CI else (ROOT / said[0], said[1])
        assert words in file.read_text(), words
    assert set(BY_HAND) <= used


@pages("sh", runs=False)
def test_commands_that_do_not_run_can_be_parsed(chosen, monkeypatch):
    here = ROOT
    for words in (words for snippet in chosen for words in snippet.commands):
        if words[0] == "cd":
            here = here / words[1]
            continue
        if words[0] == "python":
            parse_script((here / words[1]).resolve(), words[2:], monkeypatch)
            continue
        if words[0] != "keras-inception":
            assert words[0] in FOREIGN, shlex.join(words)
            continue
        values = parsed(words)
        if "recipe" in values:
            assert values["model"] in BUILDERS
        for name, known in KNOWN_VALUES.items():
            assert values.get(name) is None or values[name] in known, shlex.join(words)


def test_commands_go_over_lines_and_quotations():
    code = "A=1 python x.py \\\n  --flag && b 'c\nd'  # e\n# f\n"
    commands = list(Snippet("sh", code, runs=True).commands)
    assert commands == [["python", "x.py", "--flag"], ["b", "c\nd"]]


def test_a_wrong_flag_of_a_script_is_found(monkeypatch):
    script = ROOT / "examples" / "findings" / "ladder.py"
    parse_script(script, ["--data", "cifar10"], monkeypatch)
    with pytest.raises(SystemExit):
        parse_script(script, ["--dada", "cifar10"], monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_names_in_the_text_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`(ki\.\w[\w.]*\w)", text):
        resolve(name)
    for script in re.findall(r"\b((?:docs|examples|benchmarks|tests)/[\w/]+\.(?:py|json))\b", text):
        assert (ROOT / script).exists(), f"{page.name} names {script}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"(?:\]\(|(?:src|href)=\")([^)\"\s]+)", page.read_text(encoding="utf-8"))
    files = [link.partition("#")[0] for link in links if not re.match(r"https?://|#", link)]
    assert [file for file in files if not (page.parent / file).exists()] == []


def test_readme_has_pictures():
    assert len(re.findall(r"<img src=", README.read_text())) == 2


def test_floors_in_the_text_are_those_of_the_imports():
    text = (DOCS / "code_layout.md").read_text()
    floors = dict(re.findall(r"^\| (\d) \| (.*?) \|", text, re.MULTILINE))
    for floor, names in enumerate(FLOORS, 1):
        named = re.findall(r"`(\w+)(?:/|\.py)`", floors[str(floor)])
        assert sorted(named) == sorted(names - {"_version"})
    assert "whole jobs: train, predict, benchmark" in text
    jobs = {path.stem for path in (ROOT / "keras_inception" / "jobs").glob("[!_]*")}
    assert jobs >= {"training", "prediction", "benchmark"}


def test_measurements_are_written_where_it_is_said():
    elsewhere = {"parity.json", render_speed.RECORD.name}  # a test and a command write them
    for path in (ROOT / "benchmarks").glob("*.json"):
        assert path.name in elsewhere or path.with_suffix(".py").exists(), path.name
    assert "PARITY_JSON" in "".join(p.read_text() for p in (ROOT / "tests/parity").glob("*.py"))


def test_every_error_that_is_public_has_a_page():
    pages = "".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    errors = [name for name in ki.__all__ if isinstance(getattr(ki, name), type)]
    for name in errors:
        if issubclass(getattr(ki, name), Exception):
            assert f"{getattr(ki, name).__module__}.{name}\n" in pages, name
