"""AdaLoRA through peft: ranks that move, while training, to the matrices that need them."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from tunescope.errors import MethodError
from tunescope.methods.peft_adapter import InstalledPeft, PeftMethod, exactly

if TYPE_CHECKING:
    from peft import AdaLoraConfig, PeftModel
    from torch import Tensor, nn

    from tunescope.models.encoder import Encoder

SMOOTHING = 0.85  # β₁ and β₂ of the published code


class AdaLoRA(PeftMethod):
    """Trains a change by its singular values and prunes those that matter least: W = W₀ + (α / r₀)·P·Λ·Q.

    Λ = diag(λ) starts at zero, P ∈ ℝ^{out×r₀} and Q ∈ ℝ^{r₀×in} at N(0, 0.02²), from torch's generator.
    After each step a triplet of λᵢ, column i of P and row i of Q scores s(λᵢ) + mean s(P·ᵢ) + mean s(Qᵢ·),
    where s is the smoothed |w·∂L/∂w| times its smoothed deviation; triplets beyond the budget have λᵢ = 0.
    The budget falls from r₀ to r per matrix, over all matrices together: b(t) = b_T + (b₀ − b_T)·(1 − t')³
    with t' from 0 to 1 between `start` and `end`; then it stays, and so do the triplets.
    γ·(‖PᵀP − I‖² + ‖QQᵀ − I‖²) is added to what is minimised, through its gradient; the loss that is
    reported is without it.
    Trainable parameters: Σ r₀·(in + out + 1) over the target matrices, pruned ones included.

    Source: Zhang et al. 2023 (arXiv 2303.10512), section 3, equations 3 to 12.

    Args:
        rank: r, of the mean matrix at the end.
        initial: r₀, of every matrix at the start, at most its smaller side.
        alpha: α: the change is scaled by α / r₀ throughout.
        start: share of the steps before the first pruning.
        end: share of the steps at which the budget is reached.
        every: steps between two prunings.
        orthogonal: γ.
        dropout: share of a target's inputs that is dropped on the way into Q, while training.
        targets: roles of the model map.

    >>> AdaLoRA(rank=4, initial=6).targets
    ('q', 'v')
    """

    kind: str = "adalora"
    source: ClassVar[str] = "Zhang et al. 2023, arXiv 2303.10512, section 3"
    rank: Annotated[int, Field(ge=1)] = 8
    initial: Annotated[int, Field(ge=1)] = 12
    alpha: Annotated[float, Field(gt=0)] = 16.0
    start: Annotated[float, Field(ge=0, lt=1)] = 0.1
    end: Annotated[float, Field(gt=0, le=1)] = 0.7
    every: Annotated[int, Field(ge=1)] = 1
    orthogonal: Annotated[float, Field(ge=0)] = 0.1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _in_order(self) -> "AdaLoRA":
        if self.rank > self.initial:
            raise ValueError(
                f"rank={self.rank} is more than initial={self.initial}; ranks are only taken away"
            )
        if self.start >= self.end:
            raise ValueError(f"start={self.start} is not before end={self.end}")
        return self

    def config(self, encoder: "Encoder", tower: str, layers: "dict[str, nn.Linear]") -> "AdaLoraConfig":
        """AdaLoRA whose schedule peft is not asked for: `after_step` keeps it.

        Raises:
            MethodError: the initial rank is larger than a matrix.
        """
        from peft import AdaLoraConfig

        for path, layer in layers.items():
            if self.initial > min(layer.weight.shape):
                raise MethodError(
                    f"adalora: initial={self.initial}, but {path} is {layer.out_features} × "
                    f"{layer.in_features}; give at most {min(layer.weight.shape)}"
                )
        return AdaLoraConfig(
            init_r=self.initial,
            target_r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType] — declared int, only ever multiplied
            lora_dropout=self.dropout,
            total_step=1,
            target_modules=exactly(layers),
            bias="none",
        )

    def install(self, encoder: "Encoder", tower: str = "vision") -> "InstalledAdaLoRA":
        """As every method through peft; and the scores begin at zero."""
        peft = super().install(encoder, tower).peft
        return InstalledAdaLoRA(encoder, tower, peft, self)


class InstalledAdaLoRA(InstalledPeft):
    """AdaLoRA at work, with its scores and what is pruned among its buffers.

    Args:
        encoder: the encoder that holds the layers.
        tower: the tower that they tune.
        peft: peft's own view of `encoder.model`.
        settings: the method's.
    """

    def __init__(self, encoder: "Encoder", tower: str, peft: "PeftModel | None", settings: AdaLoRA):
        import torch

        super().__init__(encoder, tower, peft)
        self.settings = settings
        self.scores: dict[str, Tensor] = {}
        for name, parameter in self.trainable.items():
            self.scores[f"{name}.sensitivity"] = torch.zeros_like(parameter, requires_grad=False)
            self.scores[f"{name}.uncertainty"] = torch.zeros_like(parameter, requires_grad=False)
            if ".lora_E." in name:
                self.scores[f"{name}.kept"] = torch.ones_like(parameter, requires_grad=False)
            elif settings.orthogonal:
                rows = ".lora_A." in name
                parameter.register_hook(
                    lambda grad, p=parameter, rows=rows: grad + settings.orthogonal * _away(p.detach(), rows)
                )

    @property
    def buffers(self) -> "dict[str, Tensor]":
        """The scores of every trained number, and which triplets are kept; none once merged."""
        # They follow the parameters, which move to their device after the installation.
        self.scores = {name: score.to(self.encoder.device) for name, score in self.scores.items()}
        return self.scores if self.paths else {}

    def after_step(self, step: int, steps: int) -> None:
        """Score every triplet by this step's gradients, and prune down to the step's budget."""
        import torch

        said, scores = self.settings, self.buffers
        last = max(round(said.end * steps), 1)
        first = min(round(said.start * steps), last - 1)
        with torch.no_grad():
            if step < last:
                self._observe()
            if (first < step < last and step % said.every == 0) or step == last:
                count = len(self.paths)
                self._prune(budget(step, first, last, said.initial * count, said.rank * count))
            if step >= last:
                for name, parameter in self.trainable.items():
                    if ".lora_E." in name:
                        parameter.mul_(scores[f"{name}.kept"])

    def _observe(self) -> None:
        for name, parameter in self.trainable.items():
            assert parameter.grad is not None
            found = (parameter * parameter.grad).abs()
            smooth = self.scores[f"{name}.sensitivity"]
            deviation = self.scores[f"{name}.uncertainty"]
            smooth.mul_(SMOOTHING).add_((1 - SMOOTHING) * found)
            deviation.mul_(SMOOTHING).add_((1 - SMOOTHING) * (found - smooth).abs())

    def _prune(self, left: int) -> None:
        import torch

        scores = {path: self._triplets(path) for path in self.paths}
        every = torch.cat(list(scores.values()))
        pruned = len(every) - left
        limit = every.kthvalue(pruned).values if pruned else every.min() - 1
        for path, score in scores.items():
            name = f"{path}.lora_E.default"
            kept = self.scores[f"{name}.kept"]
            kept.copy_((score > limit)[:, None])
            self.trainable[name].mul_(kept)

    def _triplets(self, path: str) -> "Tensor":
        def importance(which: str) -> "Tensor":
            name = f"{path}.lora_{which}.default"
            return self.scores[f"{name}.sensitivity"] * self.scores[f"{name}.uncertainty"]

        return importance("E")[:, 0] + importance("A").mean(1) + importance("B").mean(0)


def budget(step: int, first: int, last: int, initial: int, target: int) -> int:
    """Triplets that are left after a step from `first` to `last`: b_T + (b₀ − b_T)·(1 − t')³.

    >>> [budget(step, 10, 20, 120, 40) for step in (10, 15, 20)]
    [120, 50, 40]
    """
    return int((initial - target) * (1 - (step - first) / (last - first)) ** 3 + target)


def _away(matrix: "Tensor", rows: bool) -> "Tensor":
    """The gradient by M of ‖MMᵀ − I‖², 4·(MMᵀ − I)·M, with `rows`; else of ‖MᵀM − I‖², 4·M·(MᵀM − I)."""
    import torch

    eye = torch.eye(matrix.shape[0 if rows else 1], device=matrix.device)
    if rows:
        return 4 * (matrix @ matrix.T - eye) @ matrix
    return 4 * matrix @ (matrix.T @ matrix - eye)
