"""What `emoji-clip` learns from: pictures, captions, prompts, words, and the tokenizer over them."""

import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from emoji_icons import HeldOut, read_icons, words
from PIL import Image
from tokenizers import models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer, PreTrainedTokenizerBase

STYLES = ("noto", "twemoji", "fluent-3d")
TOKENS, LONGEST = 3000, 24
WORDS, PHRASES = 12_000, 8_000
# A mirrored picture of one of these is another thing, or none.
HANDED = {
    "arrow", "alphanum", "keycap", "math", "punctuation", "time", "currency", "zodiac", "av-symbol",
    "transport-sign", "other-symbol", "hand-single-finger", "religion",
}  # fmt: skip


def prompt(label: str) -> str:
    """The prompt of a group or subgroup: `face-smiling` → `a kind of face smiling`."""
    return f"a kind of {label.replace('-', ' ')}"


def decode(images: list[bytes]) -> Tensor:
    """Encoded pictures → uint8 [n, 3, h, w]."""
    pixels = np.stack([np.array(Image.open(io.BytesIO(one)).convert("RGB")) for one in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


@dataclass
class Corpus:
    """The training part of the bundled emoji, and the extra icons.

    Args:
        pools: of the emoji styles, the other emoji sets and the icons: uint8 [n, 3, 48, 48].
        things: per pool, what each picture shows, an index into `captions`.
        captions: the captions of every thing, the name first; the emoji come before the icons.
        mirrored: per thing, whether its mirror image is the same thing.
        labels: per label, the class of every thing, −1 where it has none.
        prompts: per label, the prompt of every class.
        held_out: says whether a text names a held-out emoji.
    """

    pools: list[Tensor]
    things: list[Tensor]
    captions: list[list[str]]
    mirrored: Tensor
    labels: dict[str, Tensor]
    prompts: dict[str, list[str]]
    held_out: HeldOut

    @classmethod
    def read(cls, folder: Path, cache: Path, workers: int) -> "Corpus":
        """Read the bundled files and fetch the icons; held-out emoji and styles stay out."""
        every = pq.read_table(folder / "concepts.parquet").to_pylist()
        held_out = HeldOut([one["name"] for one in every if one["pretraining"] != "train"])
        emoji = [one for one in every if one["pretraining"] == "train"]
        place = {one["codepoints"]: i for i, one in enumerate(emoji)}
        rows = [
            row
            for row in pq.read_table(folder / "images.parquet").to_pylist()
            if row["style"] in STYLES and row["codepoints"] in place
        ]
        captions = [[one["name"], *(k for k in one["keywords"] if not held_out.within(k))] for one in emoji]
        handed = [one["subgroup"] in HANDED or "facing right" in one["name"] for one in emoji]
        pixels, said = read_icons(every, cache, workers)
        drawn = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        own = sorted({text for text in said if isinstance(text, str)})
        for text in own:
            captions.append([text])
            handed.append(bool({"left", "right", "clock"} & set(text.split())))
        of = {text: len(emoji) + i for i, text in enumerate(own)}
        thing = torch.tensor([of[s] if isinstance(s, str) else place[every[s]["codepoints"]] for s in said])
        labels, prompts = {}, {}
        for label in ("group", "subgroup"):
            classes = sorted({one[label] for one in emoji})
            prompts[label] = [prompt(name) for name in classes]
            known = [classes.index(one[label]) for one in emoji] + [-1] * len(own)
            labels[label] = torch.tensor(known)
        icon = thing >= len(emoji)
        return cls(
            pools=[decode([row["image"] for row in rows]), drawn[~icon], drawn[icon]],
            things=[torch.tensor([place[row["codepoints"]] for row in rows]), thing[~icon], thing[icon]],
            captions=captions,
            mirrored=~torch.tensor(handed),
            labels=labels,
            prompts=prompts,
            held_out=held_out,
        )

    def texts(self, teacher: PreTrainedTokenizerBase, seed: int) -> list[str]:
        """Every distinct caption, then plain words and made-up phrases for the distillation alone.

        The words are the teacher's own vocabulary, commonest first; the phrases are two or three words
        of the captions. No text holds the name of a held-out emoji.
        """
        rng = random.Random(seed)
        captions = list(dict.fromkeys(text for of in self.captions for text in of))
        vocabulary = sorted(teacher.get_vocab().items(), key=lambda item: item[1])
        plain = [w for w, _ in vocabulary if w.isascii() and w.isalpha() and len(w) > 2]
        known = sorted({word for text in captions for word in words(text).split()})
        phrases = [" ".join(rng.sample(known, rng.choice((2, 2, 3)))) for _ in range(2 * PHRASES)]
        found = captions
        for more, count in ((plain, WORDS), (phrases, PHRASES)):
            found = found + [text for text in more if not self.held_out.within(text)][:count]
        return list(dict.fromkeys(found))


def train_tokenizer(texts: list[str]) -> CLIPTokenizer:
    """CLIP's tokenizer with 3,000 byte pairs of its own.

    All 256 bytes are in it, within a word and at its end, so nothing is ever unknown. The end token
    is the last: with id 2 CLIP would pool at the largest id instead.
    """
    empty = CLIPTokenizer()
    trained = empty.backend_tokenizer
    backend = type(trained)(models.BPE(end_of_word_suffix="</w>"))
    backend.normalizer, backend.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters += [f"{letter}</w>" for letter in letters]
    # Named beforehand, letters have fixed ids: else ties between pairs are broken by chance.
    trainer = trainers.BpeTrainer(
        vocab_size=2 * TOKENS, end_of_word_suffix="</w>", special_tokens=letters, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    learnt = json.loads(backend.to_str())["model"]["merges"]
    vocab = {token: i for i, token in enumerate(letters)}
    merges = []
    for pair in learnt:
        if len(vocab) == TOKENS - 2:
            break
        left, right = pair if isinstance(pair, list) else pair.split(" ")
        vocab.setdefault(left + right, len(vocab))
        merges.append((left, right))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LONGEST)
