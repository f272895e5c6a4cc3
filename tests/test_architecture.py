"""The floors of the design: imports go down only, and each floor has its list of libraries.

A rule that fails names the file, the line, the import and the rule. Imports inside functions count, and so do
those under `if TYPE_CHECKING:` (types are a dependency like any other).
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import flawscope

ROOT = Path(flawscope.__file__).parent


@dataclass(frozen=True)
class Floor:
    """The packages of a floor and what they may import from outside, beside what the floors below may."""

    packages: frozenset[str]
    libraries: frozenset[str]


def _floor(packages: str, libraries: str) -> Floor:
    return Floor(frozenset(packages.split()), frozenset(libraries.split()))


FLOORS = (
    _floor("core weights", "numpy"),
    _floor("imaging metrics", "cv2 tifffile sklearn scipy"),
    _floor("data synth decision", "yaml"),
    _floor("runtime store report", "onnxruntime onnx sqlalchemy alembic jinja2 openpyxl"),
    _floor("methods pretraining", ""),
    _floor("flows", "ray optuna"),
    _floor("app", "fastapi starlette uvicorn pydantic argon2 prometheus_client babel markupsafe"),
    _floor("cli", "typer click rich"),
)
# what one package keeps to itself, whatever the floors above may otherwise use
OWN_LIBRARIES = {
    "imaging": {"tifffile"},
    "report": {"openpyxl"},
    "report and app": {"jinja2"},
    "store": {"sqlalchemy", "alembic"},
    "app": {
        "fastapi",
        "starlette",
        "uvicorn",
        "pydantic",
        "argon2",
        "prometheus_client",
        "babel",
        "markupsafe",
    },
    "cli": {"typer", "click", "rich"},
}
TRAINING_LIBRARIES = frozenset("torch torchvision timm lightning_fabric safetensors onnxscript".split())
TRAINING_PLACES = ("methods/deep/", "pretraining/")
# weights is a folder of data, not a floor of its own: read by name through importlib.resources
FLOOR_OF = {package: number for number, floor in enumerate(FLOORS) for package in floor.packages}
STARTERS = (
    "__init__.py",
    "__main__.py",
    "api.py",
)  # at the top: the package's face, which may see all floors


@dataclass(frozen=True)
class Import:
    """What is imported, and where that stands."""

    path: str  # relative to the package, forward slashes
    line: int
    module: str


@dataclass(frozen=True)
class Source:
    """A module's text with its place."""

    path: str
    text: str


def sources() -> list[Source]:
    """Return all modules of the package."""
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    ]


def imports(source: Source) -> Iterator[Import]:
    """Yield every import of a module, relative ones resolved; `from a import b` yields a and a.b where a is
    ours (b may be a module)."""
    package = ("flawscope/" + source.path).split("/")[:-1]
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(source.path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            ours = base.split(".")[0] == "flawscope"
            names = [f"{base}.{alias.name}" for alias in node.names] if ours else [base]
            for name in names:
                yield Import(source.path, node.lineno, name)


def broken_rules(source: Source) -> list[str]:
    """Return a sentence for every import of a module that breaks a rule."""
    place = source.path.split("/")[0] if "/" in source.path else ""
    if not place and source.path not in STARTERS:
        return [f"{source.path}: a module at the top belongs to no floor"]
    if place and place not in FLOOR_OF:
        return [f"{source.path}: the package {place} stands on no floor of the design"]
    return [
        f"{source.path}:{found.line}: import {found.module}: {rule}"
        for found in imports(source)
        if (rule := _rule_broken(found, place))
    ]


def _rule_broken(found: Import, place: str) -> str:
    top, *rest = found.module.split(".")
    if top == "flawscope":
        return _inner_rule_broken(place, rest[0] if rest else "")
    if top in sys.stdlib_module_names:
        return ""
    if top in TRAINING_LIBRARIES:
        allowed = found.path.startswith(TRAINING_PLACES)
        return "" if allowed else f"{top} is for {' and '.join(TRAINING_PLACES)} alone"
    if not place:
        return "the package's face imports nothing from outside"
    for owner, libraries in OWN_LIBRARIES.items():
        if top in libraries and place not in owner.split(" and "):
            return f"{top} is for {owner.replace(' and ', '/ and ')}/ alone"
    below = frozenset().union(*(floor.libraries for floor in FLOORS[: FLOOR_OF[place] + 1]))
    return "" if top in below else f"{place} (floor {FLOOR_OF[place]}) may not use {top}"


def _inner_rule_broken(place: str, target: str) -> str:
    if not place or target in ("", "__version__") or target == place:
        return ""
    if target not in FLOOR_OF:
        return f"there is no floor with {target}"
    own, other = FLOOR_OF[place], FLOOR_OF[target]
    if other > own:
        return f"{target} (floor {other}) stands above {place} (floor {own}); imports go down only"
    if other == own:
        return f"{target} and {place} share floor {own} and do not see each other"
    return ""


def side_effects(source: Source) -> list[str]:
    """Return a sentence for everything a module does when it is imported beyond defining things."""
    found = []
    for node in _run_at_import(ast.parse(source.text)):
        if not isinstance(node, ast.Call | ast.Subscript | ast.Attribute):
            continue
        text = ast.unparse(node.func if isinstance(node, ast.Call) else node)
        head = text.split("(")[0].split("[")[0]
        rule = ""
        if head.startswith(("os.environ", "os.getenv")):
            rule = "reads the environment"
        elif isinstance(node, ast.Call) and head in ("print", "logging.basicConfig", "open", "exec", "eval"):
            rule = f"calls {head}"
        elif isinstance(node, ast.Call) and head.endswith(
            (".mkdir", ".write_text", ".write_bytes", ".read_text", ".read_bytes", ".setNumThreads", ".seed")
        ):
            rule = f"calls {head}"
        elif isinstance(node, ast.Call) and head.startswith(("warnings.", "signal.")):
            rule = f"calls {head}"
        if rule:
            found.append(f"{source.path}:{node.lineno}: {text}: {rule} when the module is imported")
    return found


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when a module is imported: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in (*child.decorator_list, *child.args.defaults, *child.args.kw_defaults):
                if part is not None:
                    yield part
                    yield from _run_at_import(part)
            continue
        if isinstance(child, ast.If) and "__name__" in ast.unparse(child.test):
            continue
        yield child
        yield from _run_at_import(child)


def test_imports_keep_to_the_floors():
    broken = [sentence for source in sources() for sentence in broken_rules(source)]
    assert not broken, "\n" + "\n".join(broken)


def test_nothing_happens_at_import():
    found = [sentence for source in sources() for sentence in side_effects(source)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "path, text, rule",
    [
        ("core/x.py", "import scipy", "core (floor 0) may not use scipy"),
        ("core/x.py", "def f():\n    from flawscope.imaging.read import read", "imports go down only"),
        ("core/x.py", "from .. import methods", "imports go down only"),
        ("core/x.py", "from ..flows import train", "imports go down only"),
        ("imaging/x.py", "from flawscope import metrics", "do not see each other"),
        ("runtime/x.py", "import jinja2", "jinja2 is for report/ and app/ alone"),
        ("flows/x.py", "import rich.progress", "rich is for cli/ alone"),
        ("app/x.py", "def f():\n    import torch", "torch is for methods/deep/"),
        ("methods/padim.py", "import torch.nn", "torch is for methods/deep/"),
        ("runtime/x.py", "if TYPE_CHECKING:\n    from flawscope.flows import train", "imports go down only"),
        ("cli/x.py", "import requests", "cli (floor 7) may not use requests"),
        ("helpers/x.py", "", "stands on no floor"),
        ("x.py", "", "belongs to no floor"),
    ],
)
def test_a_broken_rule_is_named_with_its_place(path, text, rule):
    sentences = broken_rules(Source(path, text))
    assert len(sentences) == 1 and rule in sentences[0]
    if text:
        assert sentences[0].startswith(f"{path}:{len(text.splitlines())}: import ")


@pytest.mark.parametrize(
    "path, text",
    [
        (
            "core/x.py",
            "import json\nimport numpy as np\nfrom flawscope.core import types\nfrom . import digest",
        ),
        ("cli/commands/x.py", "import typer\nfrom flawscope.flows import train\nimport cv2"),
        ("methods/deep/x.py", "import torch\nfrom flawscope.synth.textures import grain\nimport onnx"),
        ("methods/padim.py", "import scipy.linalg\nfrom flawscope import __version__"),
    ],
)
def test_what_the_design_allows_passes(path, text):
    assert broken_rules(Source(path, text)) == []


@pytest.mark.parametrize(
    "text, rule",
    [
        ("import os\nHOME = os.environ['HOME']", "reads the environment"),
        ("import os\nHOME = os.environ.get('HOME')", "reads the environment"),
        ("print('hello')", "calls print"),
        ("import cv2\ncv2.setNumThreads(1)", "calls cv2.setNumThreads"),
        ("class A:\n    import warnings\n    warnings.simplefilter('ignore')", "calls warnings.simplefilter"),
        ("import os\ndef f(a=os.getenv('A')):\n    pass", "reads the environment"),
    ],
)
def test_a_side_effect_is_named(text, rule):
    assert any(rule in sentence for sentence in side_effects(Source("core/x.py", text)))


def test_work_inside_functions_is_no_side_effect():
    text = "import os\ndef f():\n    print(os.environ['A'])\nif __name__ == '__main__':\n    print('x')"
    assert side_effects(Source("core/x.py", text)) == []


LIGHT = ["flawscope", "flawscope.cli.main"]
HEAVY = ["torch", "onnxruntime", "onnx", "scipy", "sklearn", "cv2", "timm", "fastapi", "sqlalchemy", "ray"]


@pytest.mark.parametrize("module", LIGHT)
def test_what_must_be_light_loads_nothing_heavy(module):
    if not (ROOT.parent / Path(*module.split("."))).with_suffix(".py").is_file() and module != "flawscope":
        pytest.skip(f"{module} is not there")
    assert loaded_by(f"import {module}") == set()


def test_reading_an_image_and_ranking_it_need_no_statistics_library():
    program = "import flawscope.imaging.read, flawscope.imaging.preprocess, flawscope.runtime.session"
    assert loaded_by(program) <= {"cv2", "onnxruntime", "onnx"}


def loaded_by(program: str) -> set[str]:
    """Return the heavy libraries that a fresh process has loaded after `program`."""
    line = f"{program}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
