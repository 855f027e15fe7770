"""The house keeps its shape: arrows run one way, and what must start at once never imports torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tunescope"

MAY_IMPORT = {
    "study": set(),
    "models": {"study"},
    "data": {"study"},
    "results": {"study"},
    "landscape": {"study", "models", "data"},
    "methods": {"study", "models"},
    "objectives": {"study", "models", "data"},
    "stats": {"study", "results"},
    "training": {"study", "models", "data", "landscape", "methods", "objectives", "results"},
    "probes": {"study", "models", "data", "landscape", "results"},
    "federated": {"study", "models", "data", "methods", "results", "training", "probes"},
    "engine": {
        "study",
        "models",
        "data",
        "landscape",
        "methods",
        "objectives",
        "results",
        "training",
        "probes",
        "federated",
    },
    "report": {"study", "results", "stats"},
}
SMALL = 400  # lines; most files are under 250


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [node.module]
                if node.module != "tunescope"
                else [f"tunescope.{name.name}" for name in node.names]
            )
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("tunescope.")}
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_run_one_way(room):
    files = list((SOURCE / room).rglob("*.py"))
    assert files
    allowed = MAY_IMPORT[room] | {room, "errors"}
    wrong = {str(path.relative_to(SOURCE)): imports(path) - allowed for path in files}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_one_concept_one_file(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= SMALL


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["plan", "studies/demo.yaml"], ["methods"], ["probes"], ["status"]],
)
def test_the_light_verbs_never_import_torch(arguments, tmp_path):
    if arguments[0] in ("plan", "status"):
        arguments = [*arguments, "--results", str(tmp_path)]
    code = (
        "import sys\n"
        "from tunescope.cli.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'ray', 'flwr'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SOURCE.parents[1], capture_output=True)
