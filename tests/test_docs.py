"""README and docs say what the code does: tables are fresh, every snippet and command runs.

The Python snippets of a page run one after the other in one process, its `keras-inception`
commands one after the other, both in an empty folder and offline. A comment above a snippet that
says "not run by the tests", such as `<!-- downloads: not run by the tests -->`, keeps it from
running: then its syntax, names and flags are checked.
"""

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

import keras_inception as ki
from keras_inception import cli, recipes
from keras_inception.facts import facts
from keras_inception.models import BUILDERS
from keras_inception.networks import NETWORKS
from tests import scripts

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
SLOW_PAGES = {  # they train, or build many networks
    "README.md",
    "choosing_a_network.md",
    "distributed.md",
    "drawings.md",
    "export.md",
    "get_started.md",
    "moving_from_others.md",
    "serving.md",
    "speed.md",
    "training.md",
}
TABLE = re.compile(r"(<!-- networks: [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
SNIPPET = re.compile(
    r"(?:^<!-- (?P<comment>[^\n]*) -->\n)?^```(?P<language>python|(?:ba)?sh)\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
KNOWN_VALUES = {"recipe": recipes.RECIPES, "strategy": ("none", "mirrored", "multi_worker")}

render_networks = scripts.load("docs", "render_networks")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    language: str
    code: str
    runs: bool

    @property
    def commands(self):
        """The commands of a shell snippet, each a list of words."""
        lines = self.code.replace("\\\n", " ").splitlines()
        for part in (part for line in lines for part in line.split("&&")):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # a quotation over several lines, as in a script for Slurm
                continue
            if words:
                yield words


def snippets(page):
    # README's commands take minutes or pictures of the reader's: tests/cli and .ci/run run them.
    found = []
    for match in SNIPPET.finditer(page.read_text(encoding="utf-8")):
        language = match["language"].removeprefix("ba")
        runs = "not run by the tests" not in (match["comment"] or "")
        found.append(Snippet(language, match["code"], runs and (page, language) != (README, "sh")))
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


def test_rendered_parts_are_fresh():
    for path, content in render_networks.render().items():
        fresh = path.read_text(encoding="utf-8") == content
        assert fresh, f"{path.name}: run `python docs/render_networks.py`"


def test_every_page_is_in_the_navigation_once():
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES[1:])


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
    for words in (words for snippet in chosen for words in snippet.commands):
        if words[0] == "keras-inception":
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as end:
                cli.main()
            assert not end.value.code, shlex.join(words)


@pages("sh", runs=False)
def test_commands_that_do_not_run_can_be_parsed(chosen):
    for words in (words for snippet in chosen for words in snippet.commands):
        if words[0] == "keras-inception" and "..." not in words:
            values = parsed(words)
            if "recipe" in values:
                assert values["model"] in BUILDERS
            for name, known in KNOWN_VALUES.items():
                assert values.get(name) is None or values[name] in known, shlex.join(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_names_in_the_text_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`(ki\.\w[\w.]*\w)", text):
        resolve(name)
    for script in re.findall(r"\b((?:docs|examples|benchmarks|tests)/[\w/]+\.(?:py|json))\b", text):
        assert (ROOT / script).exists(), f"{page.name} names {script}"
    for words in (words for s in snippets(page) if s.language == "sh" for words in s.commands):
        if words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).exists(), shlex.join(words)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    files = [link.partition("#")[0] for link in links if not re.match(r"https?://|#", link)]
    assert [file for file in files if not (page.parent / file).exists()] == []
