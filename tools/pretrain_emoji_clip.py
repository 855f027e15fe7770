"""Pretrain `emoji-clip`, the small CLIP that ships with tunescope, from the bundled emoji.

It learns from the styles noto, twemoji and fluent-3d of the emoji whose `pretraining` is "train", and
from free icon sets fetched for the occasion. Pictures and names of the other emoji, and the other
styles, are never seen. One objective, counted in steps, seeded:

    contrastive + 0.5 · CE(subgroup prompts) + 0.25 · CE(group prompts) + distillation

The last term pulls text embeddings, and more gently picture embeddings, towards those of a real
sentence encoder (all-MiniLM-L6-v2, Apache-2.0, used here only), over captions and over plain words:
from 1,250 names alone a text tower cannot know that an unseen ostrich is a bird. The pictures lose
half of their patches at random, but for the last tenth of the steps, which halves the cost.

    python tools/pretrain_emoji_clip.py --work /some/folder          # killed, it goes on where it was
    python tools/pretrain_emoji_clip.py --evaluate
"""

import argparse
import json
import os
from pathlib import Path

import torch
from emoji_corpus import Corpus, train_tokenizer
from emoji_evaluate import as_table, evaluate
from emoji_sources import DataError
from emoji_teacher import teach
from emoji_trainer import Trainer, pixel_processor
from make_emoji_data import BUNDLED, write_sums
from pypi import FetchError
from text_example import fetch_model
from transformers import AutoTokenizer, CLIPModel, CLIPTokenizer


def publish(trainer: Trainer, tokenizer: CLIPTokenizer, out: Path, averaged: bool = True) -> None:
    """Save model, tokenizer and image processor for plain transformers, each file renamed into place.

    The weights are stored in float16, half the size and the same accuracy, and load as float32,
    which the configuration asks for.
    """
    model = CLIPModel(trainer.model.config)
    model.load_state_dict(trainer.model.state_dict() | (trainer.average if averaged else {}))
    aside = out.with_name(out.name + ".tmp")
    model.half().save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    pixel_processor().save_pretrained(aside)
    for file, less, more in (
        ("config.json", (), {"dtype": "float32"}),
        ("tokenizer_config.json", ("is_local", "local_files_only"), {}),  # of the machine, not the model
    ):
        said = json.loads((aside / file).read_text("utf-8")) | more
        said = {key: value for key, value in said.items() if key not in less}
        (aside / file).write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", "utf-8")
    out.mkdir(parents=True, exist_ok=True)
    for file in aside.iterdir():
        file.chmod(0o644)
        os.replace(file, out / file.name)
    aside.rmdir()


def pretrain(options: argparse.Namespace) -> None:
    """Prepare, then step until done, with a checkpoint and the accuracy on val now and then."""
    options.work.mkdir(parents=True, exist_ok=True)
    corpus = Corpus.read(options.data, options.work, options.workers)
    folder = fetch_model(options.work, options.work / "teacher")
    texts = corpus.texts(AutoTokenizer.from_pretrained(folder), options.seed)
    taught = teach(folder, texts, options.work)
    prompts = [prompt for of in corpus.prompts.values() for prompt in of]
    captions = [text for of in corpus.captions for text in of]
    vocabulary = options.work / "tokenizer"  # kept, for a checkpoint's tokens mean nothing to another
    if (vocabulary / "tokenizer.json").is_file():
        tokenizer = CLIPTokenizer.from_pretrained(vocabulary)
    else:
        tokenizer = train_tokenizer([*captions * 2, *prompts, *texts])
        tokenizer.save_pretrained(vocabulary)
    trainer = Trainer(corpus, tokenizer, texts, taught, options.steps, options.batch, options.seed)
    checkpoint = options.work / "checkpoint.safetensors"
    first = trainer.load(checkpoint) if checkpoint.is_file() else 0
    print(f"{[len(p) for p in corpus.pools]} pictures, {len(texts)} texts; from step {first}", flush=True)
    total = 0.0
    for step in range(first, options.steps):
        total += trainer.step(step)
        done = step + 1
        if done % 50 == 0:
            print(
                f"step {done} loss {total / 50:.3f} scale {trainer.model.logit_scale.exp():.1f}", flush=True
            )
            total = 0.0
        if done % options.every == 0 or done == options.steps:
            trainer.save(checkpoint, done)
            for kind, averaged in (("last", False), ("averaged", True)):
                publish(trainer, tokenizer, options.work / kind, averaged)
                val = evaluate(options.work / kind, options.data, ("val",))  # choices read val alone
                print(
                    kind, json.dumps({style: list(m["val"].values()) for style, m in val.items()}), flush=True
                )
    publish(trainer, tokenizer, options.out)


def write_table(card: Path, table: str) -> None:
    """Put the measured table between the two marks of the model card, and print it."""
    print(table)
    if card.is_file():
        before, mark, rest = card.read_text("utf-8").partition("<!-- measured -->\n")
        after = rest.partition("<!-- end -->")[2]
        card.write_text(f"{before}{mark}{table}<!-- end -->{after}", "utf-8")


def main() -> None:
    """Read the command line; pretrain or evaluate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=BUNDLED / "emoji", help="folder of make_emoji_data.py")
    parser.add_argument("--out", type=Path, default=BUNDLED / "emoji-clip", help="where the model goes")
    parser.add_argument("--work", type=Path, default=Path("build/emoji-clip"), help="packages and checkpoint")
    parser.add_argument("--steps", type=int, default=4000, help="optimiser steps (%(default)s)")
    parser.add_argument("--batch", type=int, default=160, help="pictures a step (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that render icons (%(default)s)")
    parser.add_argument(
        "--evaluate", action="store_true", help="only measure --out: metrics.json, card, sums"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not (options.data / "concepts.parquet").is_file():
        parser.error(f"--data: no concepts.parquet in {options.data}; run tools/make_emoji_data.py first")
    if options.evaluate and not (options.out / "config.json").is_file():
        parser.error(f"--out: no config.json in {options.out}; run without --evaluate first")
    if options.evaluate:
        metrics = evaluate(options.out, options.data, ("train", "val", "test"))
        (options.out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", "utf-8")
        write_table(options.out / "README.md", as_table(metrics))
        write_sums(options.out.parent)
    else:
        try:
            pretrain(options)
        except (DataError, FetchError) as error:
            parser.error(str(error))


if __name__ == "__main__":
    main()
