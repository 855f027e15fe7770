"""What the documents show works."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from tunescope.cli.main import VERBS, parser
from tunescope.engine.questions import check_questions
from tunescope.study.component import COMPONENTS, component_class
from tunescope.study.study import load_study

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/cluster.md"]
PAGES += ["docs/questions.md", "docs/examples/README.md", "tools/README.md"]
PAGES += ["src/tunescope/results/README.md", "src/tunescope/federated/README.md", "docs/federated.md"]
ASKED = """
study: asked
model: emoji-clip
task: {data: emoji/openmoji, label: subgroup}
transfer: {zero_shot: ["emoji/noto:name"]}
train: {monitor: {every: epoch, probes: [attention, representation]}}
probes: [attention, representation, transfer]
seeds: [0, 1, 2]
runs:
  full: {adapt: full, lr: [1e-4, 1e-3]}
  lora: {adapt: lora, lr: [1e-4, 1e-3]}
  probe: {adapt: linear_probe, lr: 1e-2}
  naive: {adapt: lora, lr: 1e-3, federated: {rounds: 2, watch_clients: true}}
  fedex: {adapt: lora, lr: 1e-3, federated: {rounds: 2, watch_clients: true, strategy: fedex_lora}}
questions:
"""


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_the_readmes_study_is_valid(tmp_path):
    block, engine = re.findall(r"```yaml\n(.*?)```", text("README.md"), re.S)
    for said in (block, block + engine):
        (tmp_path / "study.yaml").write_text(said)
        study = load_study(tmp_path / "study.yaml")
        check_questions(study)
        assert len(study.members()) == (3 + 2 + 1) * 3


def test_the_questions_that_are_shown_can_be_asked(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", text("docs/questions.md"), re.S)
    (tmp_path / "asked.yaml").write_text(ASKED + "".join(blocks))
    study = load_study(tmp_path / "asked.yaml")
    check_questions(study)
    assert len(study.questions) > 12
    (console,) = re.findall(r"```console\n(.*?)```", text("docs/questions.md"), re.S)
    for line in console.splitlines():
        parsed = parser().parse_args(shlex.split(line.removeprefix("$ tunescope ")))
        assert parsed.verb == "compare"


def test_the_example_is_the_page_of_a_study_that_ships():
    page = ROOT / "docs/examples/clip-attention-collapse-emoji.html"
    assert page.stat().st_size < 3_000_000
    study = load_study(ROOT / "studies/clip_attention_collapse_emoji.yaml")
    shown = page.read_text(encoding="utf-8")
    assert f"<h1>{study.study}</h1>" in shown
    for question in study.questions:
        assert str(escape(question.ask)) in shown


def test_the_readmes_python_compiles_and_names_what_there_is():
    import tunescope as ts

    (block,) = re.findall(r"```python\n(.*?)```", text("README.md"), re.S)
    compile(block, "README.md", "exec")
    for name in re.findall(r"\bts\.(\w+)", block):
        assert getattr(ts, name) is not None


def test_the_federation_by_hand_learns_as_it_stands(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", text("docs/federated.md"), re.S)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(block, space)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    for images, labels in space["held"].values():
        right = space["model"](images).argmax(1) == labels
        assert right.float().mean() > 0.4  # by chance one in eight


@pytest.mark.parametrize("study", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.name)
def test_every_study_that_ships_is_valid(study):
    check_questions(load_study(study))


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text(page)):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_readme_names_every_verb():
    assert [
        verb
        for verb in VERBS
        if f"`{verb}`" not in text("README.md") and f" {verb}`" not in text("README.md")
    ] == []


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, found in COMPONENTS.items() for name in found]
)
def test_every_component_explains_itself_and_names_its_source(table, name):
    cls = component_class(table, name)
    assert cls.summary().endswith(".")
    assert cls.model_fields["kind"].default == name
    if table != "probe":  # a probe's metrics name theirs, one by one
        assert cls.source
