"""A CLIP model and what of it is tuned, in the words of peft and transformers."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from tunescope.errors import nearest
from tunescope.study.spec import Spec

Rank = Annotated[int, Field(ge=1, le=64)]
# CLIP's own names of a block's matrices, and our roles.
ROLES = {
    "q_proj": "attention.q",
    "k_proj": "attention.k",
    "v_proj": "attention.v",
    "out_proj": "attention.o",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
ATTENTION = ("q_proj", "v_proj", "k_proj", "out_proj")


def _module(name: str) -> str:
    if name not in ROLES:
        raise ValueError(f"unknown module {name!r}; {nearest(name, ROLES)}")
    return name


Modules = tuple[Annotated[str, AfterValidator(_module)], ...]


class TargetModules(Spec):
    """Which matrices get an adapter, in every block of an encoder; an encoder without any stays frozen.

    Args:
        vision_encoder: of `q_proj`, `k_proj`, `v_proj`, `out_proj`, `fc1`, `fc2`.
        text_encoder: likewise.
    """

    vision_encoder: Modules = ()
    text_encoder: Modules = ()

    @model_validator(mode="after")
    def _something_is_tuned(self):
        if not self.vision_encoder and not self.text_encoder:
            raise ValueError(f"nothing would be tuned; name modules, such as vision_encoder: {[*ATTENTION]}")
        return self


class LoraSettings(Spec):
    """LoRA as peft's settings say it.

    Args:
        enabled: whether LoRA is what is tuned; else the encoders that `target_modules` names are, in full.
        r: the rank.
        lora_alpha: α; the change is scaled by α / r.
        lora_dropout: share of a matrix's inputs that is dropped on the way into A, while training.
        target_modules: which matrices, by encoder.
        rank_pattern: other ranks than `r`, by blocks and roles of the model map, such as
            `{"vision.blocks[0-3]": 4, "text.blocks[8-].attention.q": 16}`.
    """

    enabled: bool = True
    r: Rank = 8
    lora_alpha: Annotated[float, Field(gt=0)] = 16.0
    lora_dropout: Annotated[float, Field(ge=0, le=0.3)] = 0.05
    target_modules: TargetModules = TargetModules(vision_encoder=ATTENTION)
    rank_pattern: dict[str, Rank] = Field(default_factory=dict)


class ClipSettings(Spec):
    """A CLIP model, what of it is tuned, and under which head.

    The head follows from what is asked for, so that all of it is trained: a linear head on the image
    features where the number of classes is given and the vision encoder alone is tuned; else the zero-shot
    head that the text encoder makes of the class names, trained as CLIP was, by contrasting images with
    captions of their classes (FLYP). A linear head would leave the text encoder without a gradient.

    Args:
        type: `clip`.
        model_name: a bundled model (`emoji-clip`), a folder or a hub id.
        num_classes: of the task; data with another number are an error.
        lora: without it the vision encoder is tuned in full.

    >>> said = ClipSettings(model_name="m", num_classes=10, lora=LoraSettings(r=4))
    >>> said.contrastive, said.adapt()["targets"][:2]
    (False, ['vision.attention.q', 'vision.attention.v'])
    """

    type: Literal["clip"] = "clip"
    model_name: str
    num_classes: Annotated[int, Field(ge=2)] | None = None
    lora: LoraSettings = LoraSettings(enabled=False)

    @property
    def encoders(self) -> dict[str, Modules]:
        """The encoders that are tuned, by tower, and their modules."""
        said = self.lora.target_modules
        both = {"vision": said.vision_encoder, "text": said.text_encoder}
        return {tower: modules for tower, modules in both.items() if modules}

    @property
    def contrastive(self) -> bool:
        """Whether the text encoder makes the head of class names, and images are held against captions."""
        return self.num_classes is None or "text" in self.encoders

    def adapt(self) -> dict[str, Any]:
        """What is tuned, in our own form: `lora`, or each encoder in full."""
        if not self.lora.enabled:
            alone = [*self.encoders] == ["vision"]
            return {"kind": "full"} if alone else {"kind": "per_tower"} | dict.fromkeys(self.encoders, "full")
        return {
            "kind": "lora",
            "rank": self.lora.rank_pattern | {"*": self.lora.r} if self.lora.rank_pattern else self.lora.r,
            "alpha": self.lora.lora_alpha,
            "dropout": self.lora.lora_dropout,
            "targets": [f"{tower}.{ROLES[name]}" for tower, names in self.encoders.items() for name in names],
        }

    def objective(self) -> dict[str, Any]:
        """What is minimised, in our own form.

        The temperature stays the model's, so that adapters alone travel; examples of one class are no
        negatives of each other, because a client may hold few classes.
        """
        if self.contrastive:
            return {"kind": "flyp", "several_positives": True, "temperature": "fixed"}
        return {"kind": "cross_entropy", "head": "linear"}

    def about(self) -> str:
        """What is tuned and under which head, in a sentence."""
        how = f"LoRA of rank {self.lora.r}" if self.lora.enabled else "Full fine-tuning"
        of = " and ".join(self.encoders)
        head = f"a linear head of {self.num_classes} classes"
        if self.contrastive:
            head = (
                "the zero-shot head that the text encoder makes of the class names, trained by contrasting "
                "images with captions"
            )
        return f"{how} of the {of} encoder{'s' if ' and ' in of else ''} of {self.model_name}, under {head}."
