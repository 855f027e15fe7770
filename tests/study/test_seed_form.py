"""The form that CLIP users write becomes an ordinary study, with the same errors."""

from pathlib import Path

import pytest

from tunescope.cli.main import main
from tunescope.errors import StudyError
from tunescope.study.run import RunSpec
from tunescope.study.study import Study, dump_study, load_study

SEED = Path(__file__).parents[2] / "studies" / "seed_clip_lora.yaml"
BOTH = [f"{tower}.attention.{role}" for tower in ("vision", "text") for role in ("q", "v", "k", "o")]
PLAIN = "model: {type: clip, model_name: m}\n"


def read(folder: Path, text: str) -> Study:
    path = folder / "fed.yaml"
    path.write_text(text, encoding="utf-8")
    return load_study(path)


def run(folder: Path, text: str) -> RunSpec:
    (member,) = read(folder, text).members()
    return member.spec


def test_the_file_of_the_seed_is_the_same_run_as_in_our_own_form(tmp_path):
    (member,) = load_study(SEED).members()
    ours = {
        "model": "openai/clip-vit-base-patch32",
        "task": {"data": "emoji/openmoji"},
        "adapt": {"kind": "lora", "rank": 8, "alpha": 16, "dropout": 0.05, "targets": BOTH},
        "objective": {"kind": "flyp", "several_positives": True, "temperature": "fixed"},
        "lr": 1e-4,
        "train": {"batch_size": 32, "optimizer": {"kind": "adamw", "weight_decay": 0.01}},
        "federated": {"rounds": 10, "local_epochs": 3, "partition": {"kind": "iid", "clients": 4}},
        "probes": ["attention", "transfer"],
    }
    assert member.spec == RunSpec.parse(ours, "ours")
    assert member.name == "lora lr=0.0001 seed=0"
    study = load_study(SEED)
    assert study.study == "seed_clip_lora"
    assert "LoRA of rank 8 of the vision and text encoders" in study.about
    assert read(tmp_path, dump_study(study)) == study  # an ordinary study from here on


def test_everything_that_it_can_say(tmp_path):
    spec = run(
        tmp_path,
        "study: mine\nabout: why\nseed: 7\nprobes: [transfer]\nengine: {retries: 0}\n"
        "transfer: {shifts: [emoji/noto]}\n"
        "model: {model_name: m, lora: {r: 4, rank_pattern: {'vision.blocks[0-1]': 2}}}\n"
        "client: {local_epochs: 2, learning_rate: 1e-3, ranks: {client-1: 2}}\n"
        "optimizer: {learning_rate: 0.001, weight_decay: 0}\n"
        "data: {dataset: 'folder:x', label: kind, partition: dirichlet, alpha: 0.1, num_clients: 6}\n"
        "server: {num_rounds: 5, fraction_fit: 0.5, strategy: {kind: hetlora}}\n",
    )
    assert spec.federated is not None
    assert (spec.lr, spec.seed, spec.task.label) == (1e-3, 7, "kind")
    assert spec.adapt.model_dump()["rank"] == {"vision.blocks[0-1]": 2, "*": 4}
    assert spec.federated.partition.model_dump()["alpha"] == 0.1
    assert spec.federated.ranks == {"client-1": 2}
    assert (spec.federated.rounds, spec.federated.sample, spec.train.epochs) == (5, 0.5, 10)
    assert spec.transfer.shifts == ("emoji/noto",)
    assert [probe.kind for probe in spec.probes] == ["transfer"]
    for said, kind, settings in (
        ("partition: pathological, classes_per_client: 3", "pathological", {"clients": 4, "classes": 3}),
        ("partition: by_domain, domains: [emoji/noto, emoji/twemoji]", "by_domain", {}),
    ):
        federated = run(tmp_path, f"{PLAIN}data: {{{said}}}\nserver: {{rank_from: {{}}}}\n").federated
        assert federated is not None
        dealt = federated.partition.model_dump()
        assert dealt["kind"] == kind
        assert settings.items() <= dealt.items()
    assert federated.data == ("emoji/noto", "emoji/twemoji")


@pytest.mark.parametrize(
    ("model", "adapt", "head"),
    [
        ("lora: {}", ("lora", BOTH[:4]), "flyp"),
        ("num_classes: 8, lora: {}", ("lora", BOTH[:4]), "linear"),
        ("num_classes: 8, lora: {target_modules: {text_encoder: [fc1]}}", ("lora", ["text.mlp.fc1"]), "flyp"),
        ("num_classes: 8", ("full", None), "linear"),
        ("lora: {enabled: false}", ("full", None), "flyp"),
        (
            "lora: {enabled: false, target_modules: {vision_encoder: [fc1], text_encoder: [fc1]}}",
            ("per_tower", None),
            "flyp",
        ),
    ],
)
def test_the_head_follows_from_what_is_tuned(tmp_path, model, adapt, head):
    spec = run(tmp_path, f"model: {{type: clip, model_name: m, {model}}}\n")
    said = spec.adapt.model_dump()
    targets = said.get("targets")
    assert (spec.adapt.kind, targets if targets is None else sorted(targets)) == (
        adapt[0],
        adapt[1] if adapt[1] is None else sorted(adapt[1]),
    )
    objective = spec.objective.model_dump()
    assert objective.get("head", objective["kind"]) == head
    assert spec.task.num_classes == (8 if "num_classes" in model else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {type: vit, model_name: m}", "model.type: input should be 'clip', got 'vit'"),
        ("model: {model_nam: m}", "model.model_nam: unknown key 'model_nam'; did you mean 'model_name'"),
        ("model: {model_name: m, lora: {r: 65}}", "model.lora.r: input should be less than or equal to 64"),
        ("model: {model_name: m, lora: {r: 0}}", "model.lora.r: input should be greater than or equal to 1"),
        ("model: {model_name: m, lora: {lora_dropout: 0.4}}", "less than or equal to 0.3, got 0.4"),
        ("model: {model_name: m, lora: {rank: 4}}", "model.lora.rank: unknown key 'rank'"),
        (
            "model: {model_name: m, lora: {target_modules: {vision_encoder: [q_porj]}}}",
            "target_modules.vision_encoder.0: unknown module 'q_porj'; did you mean 'q_proj'",
        ),
        ("model: {model_name: m, lora: {target_modules: {}}}", "target_modules: nothing would be tuned"),
        (
            PLAIN + "client: {learning_rate: 1e-3}\noptimizer: {learning_rate: 1e-4}",
            "client.learning_rate is 0.001 and optimizer.learning_rate is 0.0001",
        ),
        (PLAIN + "clients: {}", "clients: unknown key 'clients'; did you mean 'client'"),
        (PLAIN + "server: {strategy: fedavgg}", "server.strategy: unknown strategy 'fedavgg'; did you mean"),
        (PLAIN + "data: {partition: dirichle}", "data.partition: unknown partition 'dirichle'; did you mean"),
        (PLAIN + "data: {alpha: 0.5}", "alpha=0.5 is for partition dirichlet, and the partition is iid"),
        (PLAIN + "data: {domains: [emoji/noto]}", r"domains=\['emoji/noto'\] and partition iid do not go"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path, text, message):
    with pytest.raises(StudyError, match=rf"fed\.yaml: .*{message}"):
        read(tmp_path, text)


def test_a_mistake_is_exit_code_2_of_every_verb(tmp_path, capsys):
    path = tmp_path / "fed.yaml"
    path.write_text("model: {model_name: m, lora: {r: 99}}\n", encoding="utf-8")
    for verb in ("federate", "run", "plan", "report"):
        assert main([verb, str(path), "--results", str(tmp_path)]) == 2
        assert "model.lora.r: input should be less than or equal to 64, got 99" in capsys.readouterr().err
