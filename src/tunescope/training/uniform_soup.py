"""The uniform soup: every run goes in."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from tunescope.training.soup import Ingredient, IngredientDiverged, Soup

if TYPE_CHECKING:
    from tunescope.results.row import Row
    from tunescope.training.history import Log
    from tunescope.training.model_mean import ModelMean
    from tunescope.training.score import Score


class UniformSoup(Soup):
    """Averages the effective weights and heads of several runs: θ = 1/k · Σᵢ θᵢ.

    See `Soup` for what the ingredients are. Where one has diverged, the soup is published as failed.

    Source: Wortsman et al. 2022 (arXiv 2203.05482), section 2, table 2.

    Args:
        lr: learning rates of the ingredients; none stands for the run's own.
        seeds: their seeds; none stands for the run's own.

    >>> UniformSoup(seeds=(0, 1, 2)).kind
    'uniform_soup'
    """

    kind: str = "uniform_soup"
    source: ClassVar[str] = "Wortsman et al. 2022, arXiv 2203.05482, section 2"

    def average(
        self, mean: "ModelMean", ingredients: Iterable[Ingredient], score: "Score", log: "Log"
    ) -> "list[Row]":
        """All of them. Raises IngredientDiverged for the first that diverged."""
        from tunescope.results.row import Row

        for ingredient in ingredients:
            if ingredient.weights is None:
                raise IngredientDiverged(
                    f"{self.kind}: its ingredient {ingredient.name} {ingredient.cause}; leave it out, or "
                    "take greedy_soup, which does"
                )
            mean.load(ingredient.weights())
            mean.include()
            mean.accept()
            log({"after": self.kind, "ingredient": ingredient.name, "in": True})
        value = score()
        log({"after": self.kind, "ingredients": mean.count, score.name: value})
        return [Row("after.ingredients", mean.count), score.row(value)]
