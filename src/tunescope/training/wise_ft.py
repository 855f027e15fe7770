"""WiSE-FT: the tuned weights interpolated with those before the first step."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from tunescope.errors import MethodError
from tunescope.training.after import Edit

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunescope.methods.method import Installed
    from tunescope.results.row import Row
    from tunescope.training.history import Log
    from tunescope.training.score import Score

Alpha = Annotated[float, Field(ge=0, le=1)]
TENTHS = tuple(tenth / 10 for tenth in range(11))


class Begun(NamedTuple):
    """The model before its first step."""

    installed: "Installed"
    head: "nn.Module"
    origin: "dict[str, Tensor]"
    head_origin: "dict[str, Tensor]"


class WiseFT(Edit):
    """Walks back from the tuned weights towards the pretrained ones: θ(α) = (1 − α)·θ₀ + α·θ₁.

    θ is the encoder's effective weights and the head: α = 0 is the pretrained encoder with the head as it was
    before its first step, α = 1 what training returned (the moving average, under `train.ema`). A head that
    starts from prompts makes α = 0 the zero-shot classifier, as published; a linear head starts at zeros, so
    its logits shrink with α and at α = 0 every class is equally likely.

    Of an adapter that folds into the weights as W₀ + ΔW, ΔW is scaled by α, through the one factor that it is
    linear in; that is the same as interpolating merged weights. It is done in place, without a copy per α,
    and what is published are the weights at the α that was settled on.

    With `alpha: val` that is the best of `alphas` on the validation examples of the task alone, by accuracy,
    or by loss where numbers are predicted; among equals the largest, the closest to what was tuned.

    Source: Wortsman et al. 2022 (arXiv 2109.01903), section 3, equation 1; 0.5 is what it recommends where
    there is nothing to choose by.

    Args:
        alpha: α, or `val`.
        alphas: what `val` chooses from.

    >>> WiseFT(alpha="val").alphas[:3]
    (0.0, 0.1, 0.2)
    """

    kind: str = "wise_ft"
    source: ClassVar[str] = "Wortsman et al. 2022, arXiv 2109.01903, section 3"
    alpha: Alpha | Literal["val"] = 0.5
    alphas: Annotated[tuple[Alpha, ...], Field(min_length=2)] = TENTHS

    @model_validator(mode="after")
    def _chosen_or_given(self):
        if self.alpha != "val" and self.alphas != TENTHS:
            raise ValueError(f"alphas are chosen from with alpha: val, and alpha is {self.alpha}; drop one")
        return self

    def check(self, installed: "Installed") -> None:
        """Look for the line. Raises MethodError where the weights are not linear in what is trained."""
        self._origin(installed)

    def begin(self, installed: "Installed", head: "nn.Module") -> Begun:
        """Both starting points, as copies. Raises MethodError as `check`."""
        before = {name: value.detach().clone() for name, value in head.named_parameters()}
        return Begun(installed, head, self._origin(installed), before)

    def finish(self, begun: Begun, score: "Score", log: "Log") -> "list[Row]":
        """Leave the model at α."""
        from tunescope.methods.line import Line
        from tunescope.results.row import Row

        lines = [
            begun.installed.line(begun.origin),
            Line(dict(begun.head.named_parameters()), begun.head_origin),
        ]
        best: tuple[float, float] | None = None
        for alpha in (self.alpha,) if self.alpha != "val" else sorted(self.alphas):
            for line in lines:
                line.at(alpha)
            value = score()
            log({"after": self.kind, "alpha": alpha, score.name: value})
            if best is None or score.merit(value) >= score.merit(best[1]):
                best = alpha, value
        assert best is not None
        for line in lines:
            line.at(best[0])
        return [Row("after.alpha", best[0]), score.row(best[1])]

    def _origin(self, installed: "Installed") -> "dict[str, Tensor]":
        try:
            return installed.origin()
        except MethodError as error:
            raise MethodError(f"{self.kind}: {error}") from None
