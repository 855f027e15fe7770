"""`tunescope federate`: the file of the seed, carried out; and what the verb refuses."""

import json
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from families import save_tiny
from safetensors.numpy import load_file
from tiny_study import images

import tunescope as ts
from tunescope.cli.federate import FORMS
from tunescope.cli.main import main
from tunescope.errors import MethodError
from tunescope.results.table import Table
from tunescope.study.study import load_study

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture(scope="module")
def federated(tmp_path_factory):
    """The file of the seed on the embedded model and a few images, for two rounds: file and results."""
    folder = tmp_path_factory.mktemp("federate")
    data = images(folder / "images", each=10)
    seed = (STUDIES / "seed_clip_lora.yaml").read_text(encoding="utf-8")
    assert seed.count("openai/clip-vit-base-patch32") == 1
    said = seed.replace("openai/clip-vit-base-patch32", "emoji-clip")
    said += f"  dataset: folder:{data}\n  num_clients: 2\nserver: {{num_rounds: 2}}\nprobes: [transfer]\n"
    path = folder / "fed.yaml"
    path.write_text(said, encoding="utf-8")
    return path, folder / "results"


def call(*arguments) -> int:
    return main(["federate", *map(str, arguments)])


def test_the_file_of_the_seed_is_carried_out(federated, capsys):
    path, results = federated
    choice = ("--results", results, "--executor", "serial", "--runtime", "local", "--json")
    assert call(path, *choice) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert [run["state"] for run in found["runs"]] == ["done"]
    assert "1 of 1 runs done" in told.err
    assert f"tunescope federate {path} --runtime local" in Path(found["report"]).read_text(encoding="utf-8")
    table = Table.read(Path(found["report"]).parent)
    counted = table.sql("select step, value from rows where metric = 'federated.clients' order by step")
    assert [(row["step"], row["value"]) for row in counted.to_pylist()] == [(1, 2), (2, 2)]
    weights = load_file(next(results.glob("store/runs/*/weights.safetensors")))
    changed = {name for name, value in weights.items() if ".lora_B." in name and value.any()}
    for tower, blocks in (("vision", 6), ("text", 3)):  # a gradient has reached every matrix of both encoders
        assert sum(name.startswith(f"encoder.{tower}_model.") for name in changed) == 4 * blocks
    assert call(path, *choice[:4]) == 0  # there already
    assert capsys.readouterr().out == f"report: {found['report']}\n"
    assert main(["plan", str(path), "--results", str(results)]) == 0
    assert capsys.readouterr().out.endswith("1 runs: 1 done\n")


def test_what_a_run_has_learnt_is_a_task_on_its_base(federated, tmp_path):
    _, results = federated
    run = next(folder.parent for folder in results.glob("store/runs/*/weights.safetensors"))
    weights = load_file(run / "weights.safetensors")
    vision = {"model_name": "emoji-clip", "num_classes": 2, "lora": {"r": 2}}
    model = ts.create_clip_model(vision)
    model.load_task("colours", run)
    held = {f"encoder.{name}": value for name, value in model.clip.named_parameters()}
    for name, value in weights.items():
        if name.startswith("encoder."):
            assert np.array_equal(value, held[name].detach().numpy()), name
    assert model.get_lora_info()["r"] == 8
    side = model.encoder.map.tower("vision").image_size
    pixels = np.zeros((2, side, side, 3), np.uint8)
    assert model(pixels).shape == (2, 3)  # the three colours, by name
    model.use_task("default")
    assert model(pixels).shape == (2, 2)
    other = ts.create_clip_model(vision | {"model_name": str(save_tiny("clip", tmp_path / "clip"))})
    before = other.get_parameters()
    with pytest.raises(MethodError, match=r"the run tuned 'emoji-clip', and the base is"):
        other.load_task("colours", run)
    assert (other.tasks, other.is_lora_enabled()) == (("default",), True)
    assert all(np.array_equal(array, before[name]) for name, array in other.get_parameters().items())


def test_the_help_says_what_holds_where_a_key_is_left_out(tmp_path):
    block = FORMS[FORMS.index("  model:") : FORMS.index("`study`, `about`")]
    for name, text in (("whole", dedent(block)), ("least", "model: {model_name: emoji-clip, lora: {}}\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fed.yaml").write_text(text, encoding="utf-8")
    assert load_study(tmp_path / "whole" / "fed.yaml") == load_study(tmp_path / "least" / "fed.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([STUDIES / "demo.yaml"], "none of its runs is federated; `tunescope run` carries out such a study"),
        (["{fed}", "--port", "9092"], "--port is not for runtime local; give --runtime deploy"),
        (
            ["{fed}", "--runtime", "deploy", "--only", "lora"],
            "--only is not for runtime deploy; leave it out",
        ),
        ([STUDIES / "seed_clip_lora.yaml"], "model 'openai/clip-vit-base-patch32': no folder of this name"),
    ],
)
def test_what_it_refuses_is_said_in_one_message(federated, tmp_path, capsys, arguments, said):
    path, _ = federated
    given = [str(argument).replace("{fed}", str(path)) for argument in arguments]
    assert call(*given, "--results", tmp_path) == 2
    assert said in capsys.readouterr().err
