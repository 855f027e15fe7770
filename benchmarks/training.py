"""Training speed: our loop beside transformers' `Trainer`, on the same model, optimiser and schedule.

Run it with `python benchmarks/training.py`; the two take turns, so that a busy machine is fair to both. The
model is a ViT of width 192 with 6 blocks and 37 tokens. Prints samples per second, best and median of the
rounds, and the peak memory of each in a process of its own.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainingArguments, ViTConfig, ViTModel
from transformers.utils import logging

from tunescope.data.examples import Examples
from tunescope.methods.full import Full
from tunescope.methods.lora import LoRA
from tunescope.methods.method import Method
from tunescope.models.encoder import Encoder
from tunescope.models.heads import LinearHead
from tunescope.models.load import load
from tunescope.study.run import RunSpec
from tunescope.training.loop import train

SIZE, CLASSES, BATCH = 48, 51, 64
CarryOut = Callable[[Encoder, Method, Examples], None]


def save_model(folder: Path) -> None:
    """A randomly initialised ViT with its preprocessing."""
    config = ViTConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=6,
        image_size=SIZE,
        patch_size=8,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    preprocessing = {"image_processor_type": "ViTImageProcessor", "size": size, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))


def made_up(count: int, split: str) -> Examples:
    """Noise with labels."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    names = tuple(str(i) for i in range(CLASSES))
    ids = tuple(str(i) for i in range(count))
    return Examples(images, generator.integers(0, CLASSES, count), ids, names, ("{}",), split)


def ours(encoder: Encoder, method: Method, data: Examples) -> None:
    """One epoch with tunescope; one image of validation, which `Trainer` is spared."""
    value = {"model": "vit", "task": {"data": "noise"}, "adapt": method, "lr": 1e-4}
    spec = RunSpec.model_validate(value | {"train": {"epochs": 1, "batch_size": BATCH}})
    installed = method.install(encoder)
    train(encoder, installed, LinearHead(encoder.feature_dim, CLASSES), spec, data, made_up(1, "val"))


class Classifier(nn.Module):
    """What `Trainer` expects: a model that returns its own loss."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.model, self.head = encoder.model, LinearHead(encoder.feature_dim, CLASSES)
        self.encoder = encoder

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and logits of a batch."""
        logits = self.head(self.encoder.image_features(pixel_values))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def theirs(encoder: Encoder, method: Method, data: Examples) -> None:
    """One epoch with `Trainer`."""
    method.install(encoder)

    def collate(indices: list[int]) -> dict[str, Tensor]:
        return {
            "pixel_values": encoder.pixels(data.images[indices]),
            "labels": torch.as_tensor(data.labels[indices]),
        }

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-4,
            weight_decay=0.01,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            max_grad_norm=1.0,
            optim="adamw_torch",
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            dataloader_pin_memory=False,
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        indices = list(range(len(data)))
        trainer = Trainer(Classifier(encoder), arguments, data_collator=collate, train_dataset=indices)  # pyright: ignore[reportArgumentType]
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def speed(carry_out: CarryOut, folder: Path, method: Method, data: Examples) -> float:
    """Samples per second, from a loaded model to a trained one."""
    encoder = load(folder)
    torch.manual_seed(0)
    started = time.perf_counter()
    carry_out(encoder, method, data)
    return len(data) / (time.perf_counter() - started)


def peak(who: str, label: str, folder: Path, examples: int) -> float:
    """MiB that a process of its own holds at most for one epoch."""
    command = [sys.executable, __file__, "--examples", str(examples), "--alone", who, label, str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


METHODS: dict[str, Method] = {"full": Full(), "lora r=8": LoRA(rank=8)}
CONTENDERS: dict[str, CarryOut] = {"tunescope": ours, "Trainer": theirs}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", nargs=3, metavar=("WHO", "METHOD", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    data = made_up(arguments.examples, "train")
    if arguments.alone:
        who, label, folder = arguments.alone
        speed(CONTENDERS[who], Path(folder), METHODS[label], data)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as name:
        save_model(Path(name))
        for carry_out in CONTENDERS.values():  # what is imported and allocated once is not measured
            speed(carry_out, Path(name), Full(), made_up(BATCH, "train"))
        for label, method in METHODS.items():
            found: dict[str, list[float]] = {who: [] for who in CONTENDERS}
            for _ in range(arguments.rounds):
                for who, carry_out in CONTENDERS.items():
                    found[who].append(speed(carry_out, Path(name), method, data))
            for who, speeds in found.items():
                best, median = max(speeds), statistics.median(speeds)
                memory = peak(who, label, Path(name), arguments.examples)
                print(
                    f"{label:9} {who:10} best {best:6.0f}  median {median:6.0f} samples/s  "
                    f"peak {memory:5.0f} MiB"
                )
            ratios = [a / b for a, b in zip(found["tunescope"], found["Trainer"], strict=True)]
            ratio = statistics.median(ratios)
            print(f"{label:9} tunescope / Trainer: {ratio:.2f} (median of {len(ratios)} pairs)")


if __name__ == "__main__":
    main()
