"""The model `emoji-clip`, its objective, and one step of its pretraining, with checkpoints."""

import math
import os
import random
from pathlib import Path

import torch
from emoji_augment import augment
from emoji_corpus import LONGEST, Corpus
from emoji_evaluate import features
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

WARMUP, PEAK, DECAY, AVERAGE = 80, 1e-3, 0.1, 0.998
KEEP, WHOLE = 18, 0.9  # patches kept, of 36, until this share of the steps
SHARES = (0.6, 0.2, 0.2)  # of a batch: the emoji styles, the other emoji sets, the icons
SUBGROUP, GROUP, TEXT, PICTURE, SOFTNESS = 0.5, 0.25, 1.0, 0.3, 0.1


def config(tokenizer: CLIPTokenizer) -> CLIPConfig:
    """2.2 million parameters: a vision tower for 6 × 6 patches of 8 px, a shallower text tower."""
    tower = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "projection_dim": 128}
    ids = {f"{end}_token_id": getattr(tokenizer, f"{end}_token_id") for end in ("bos", "eos", "pad")}
    text = {"vocab_size": len(tokenizer), "num_hidden_layers": 3, "max_position_embeddings": LONGEST}
    vision = {"num_hidden_layers": 6, "image_size": 48, "patch_size": 8}
    return CLIPConfig(text_config=tower | text | ids, vision_config=tower | vision, projection_dim=128)


def pixel_processor() -> CLIPImageProcessorPil:
    """CLIP's own preprocessing at 48 px."""
    return CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})


class Trainer:
    """The state of one pretraining and its step. Everything random derives from (seed, step).

    Args:
        corpus: what to learn from.
        tokenizer: the student's.
        texts: the captions first, then words and phrases for the distillation.
        taught: [texts, 128], the unit row of the teacher for each text.
        steps: length of the schedule.
        batch: pictures a step.
        seed: of everything random.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: CLIPTokenizer,
        texts: list[str],
        taught: Tensor,
        steps: int,
        batch: int,
        seed: int,
    ):
        torch.manual_seed(seed)
        self.corpus, self.taught, self.steps, self.batch, self.seed = corpus, taught, steps, batch, seed
        self.model = CLIPModel(config(tokenizer))
        self.model.vision_model.embeddings.register_forward_hook(self.drop_patches)
        self.keep: int | None = None
        self.parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": DECAY},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.98))
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        place = {text: i for i, text in enumerate(texts)}
        self.captions = [[place[text] for text in of] for of in corpus.captions]
        self.sections = [len(prompts) for prompts in corpus.prompts.values()]
        every = [*texts, *(prompt for prompts in corpus.prompts.values() for prompt in prompts)]
        tokens = tokenizer(every, padding=True, truncation=True, return_tensors="pt")
        self.ids, self.mask = tokens["input_ids"], tokens["attention_mask"]
        self.prompts = list(range(len(texts), len(every)))

    def drop_patches(self, module: nn.Module, arguments: object, states: Tensor) -> Tensor:
        """Keep the class token and, of each picture, `self.keep` patches at random."""
        if self.keep is None:
            return states
        order = torch.rand(len(states), states.shape[1] - 1).argsort(1)[:, : self.keep] + 1
        order = torch.cat([torch.zeros(len(states), 1, dtype=torch.long), order], 1)
        return states.gather(1, order[..., None].expand(-1, -1, states.shape[2]))

    def embed(self, index: list[int]) -> Tensor:
        """Unit rows of the student for these texts."""
        longest = int(self.mask[index].sum(1).max())
        ids, mask = self.ids[index, :longest], self.mask[index, :longest]
        return features(self.model.get_text_features(input_ids=ids, attention_mask=mask))

    def draw(self, rng: random.Random) -> tuple[Tensor, list[int], list[int]]:
        """A batch: pictures, what they show, and one caption of each: half of the time its name."""
        pictures, things = [], []
        for pool, shown, share in zip(self.corpus.pools, self.corpus.things, SHARES, strict=True):
            chosen = rng.sample(range(len(pool)), round(share * self.batch))
            pictures.append(pool[chosen])
            things += shown[chosen].tolist()
        captions = [c[0] if rng.random() < 0.5 else rng.choice(c) for c in (self.captions[t] for t in things)]
        return torch.cat(pictures), things, captions

    def loss(self, rng: random.Random) -> Tensor:
        """The objective on one batch."""
        pixels, things, captions = self.draw(rng)
        n = len(things)
        mean, std = (
            torch.tensor(v).view(3, 1, 1) for v in (pixel_processor().image_mean, pixel_processor().image_std)
        )
        x = (augment(pixels, self.corpus.mirrored[things]) - mean) / std
        images = features(self.model.get_image_features(pixel_values=x))
        extra = [rng.randrange(len(self.taught)) for _ in range(n // 2)]
        texts, *prompts = self.embed([*captions, *extra, *self.prompts]).split(
            [n + len(extra), *self.sections]
        )
        taught = self.taught[[*captions, *extra]]
        scale = self.model.logit_scale.exp()
        logits = scale * images @ texts[:n].T
        # Captions that mean nearly the same share the target, by the teacher's word; one emoji in
        # two styles is no negative of itself.
        alike = taught[:n] @ taught[:n].T
        same = torch.tensor(things)[:, None] == torch.tensor(things)
        target = softmax(torch.where(same, 1.0, alike) / SOFTNESS, 1)
        loss = -(target * (log_softmax(logits, 1) + log_softmax(logits.T, 1))).sum(1).mean() / 2
        for known, classes, weight in zip(
            self.corpus.labels.values(), prompts, (GROUP, SUBGROUP), strict=True
        ):
            loss = loss + weight * cross_entropy(scale * images @ classes.T, known[things], ignore_index=-1)
        loss = loss + TEXT * (1 - (texts * taught).sum(1)).mean()
        return loss + PICTURE * (1 - (images * taught[:n]).sum(1)).mean()

    def step(self, step: int) -> float:
        """One optimiser step; returns the loss."""
        rng = random.Random(f"{self.seed}/{step}")
        torch.manual_seed(rng.getrandbits(62))
        self.model.train()
        self.keep = KEEP if step < WHOLE * self.steps else None
        rate = PEAK * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss(rng)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(100))
            kept = min(AVERAGE, (1 + step) / (10 + step))
            for name, parameter in self.model.named_parameters():
                self.average[name].lerp_(parameter, 1 - kept)
        return loss.item()

    def save(self, file: Path, step: int) -> None:
        """Write the checkpoint aside, then rename: a kill at any moment leaves a whole one."""
        state = {f"model/{name}": p.detach() for name, p in self.model.named_parameters()}
        state |= {f"average/{name}": p for name, p in self.average.items()} | {"step": torch.tensor(step)}
        for i, parameter in enumerate(self.parameters):
            state |= {f"optimizer/{i}/{k}": v for k, v in self.optimizer.state[parameter].items()}
        save_file({name: value.contiguous() for name, value in state.items()}, file.with_suffix(".tmp"))
        os.replace(file.with_suffix(".tmp"), file)

    def load(self, file: Path) -> int:
        """Go on from a checkpoint; returns the next step."""
        state = load_file(file)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(state[f"model/{name}"])
                self.average[name].copy_(state[f"average/{name}"])
        for i, parameter in enumerate(self.parameters):
            start = f"optimizer/{i}/"
            self.optimizer.state[parameter] = {
                key.removeprefix(start): value for key, value in state.items() if key.startswith(start)
            }
        return int(state["step"])
