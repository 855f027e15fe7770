"""The greedy soup: a run goes in where that does not make it worse."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from tunescope.training.soup import Ingredient, IngredientDiverged, Soup

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from tunescope.results.row import Row
    from tunescope.training.history import Log
    from tunescope.training.model_mean import ModelMean
    from tunescope.training.score import Score


class GreedySoup(Soup):
    """Averages those runs that help: from the best on, each goes in if validation does not get worse.

    The ingredients are sorted by their own validation accuracy (loss, where numbers are predicted), equals in
    the order in which they are listed. The first is in; each further one is kept if the mean with it is not
    worse on the validation examples than the mean without it. See `Soup` for what the ingredients are; those
    that diverged are left out.

    Source: Wortsman et al. 2022 (arXiv 2203.05482), section 2, recipe 1.

    Args:
        lr: learning rates of the ingredients; none stands for the run's own.
        seeds: their seeds; none stands for the run's own.

    >>> GreedySoup(lr=(1e-5, 3e-5)).kind
    'greedy_soup'
    """

    kind: str = "greedy_soup"
    source: ClassVar[str] = "Wortsman et al. 2022, arXiv 2203.05482, section 2, recipe 1"

    def average(
        self, mean: "ModelMean", ingredients: Iterable[Ingredient], score: "Score", log: "Log"
    ) -> "list[Row]":
        """Those that help. Raises IngredientDiverged where all have diverged."""
        from tunescope.results.row import Row

        alone: list[tuple[float, str, Callable[[], dict[str, Tensor]]]] = []
        for name, weights, cause in ingredients:
            if weights is None:
                log({"after": self.kind, "ingredient": name, "in": False, "because": cause})
                continue
            mean.load(weights())
            alone.append((score(), name, weights))
        if not alone:
            raise IngredientDiverged(f"{self.kind}: all ingredients diverged; take smaller learning rates")
        best: float | None = None
        for value, name, weights in sorted(alone, key=lambda one: -score.merit(one[0])):
            mean.load(weights())
            mean.include()
            found = value if best is None else score()
            goes_in = best is None or score.merit(found) >= score.merit(best)
            if goes_in:
                mean.accept()
                best = found
            log({"after": self.kind, "ingredient": name, "alone": value, score.name: found, "in": goes_in})
        mean.restore()
        assert best is not None
        log({"after": self.kind, "ingredients": mean.count, score.name: best})
        return [Row("after.ingredients", mean.count), score.row(best)]
