"""Model soups: the weights of several runs averaged."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from itertools import product
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field, model_validator

from tunescope.errors import Diverged, MethodError
from tunescope.study.run import Positive, RunSpec
from tunescope.training.after import After

if TYPE_CHECKING:
    from torch import Tensor

    from tunescope.methods.method import Installed
    from tunescope.results.row import Row
    from tunescope.training.history import Log
    from tunescope.training.model_mean import ModelMean
    from tunescope.training.score import Score


class Ingredient(NamedTuple):
    """One run of a soup.

    Args:
        name: what tells it from the others.
        weights: what was trained, by name, read when it is asked for; None where the run diverged.
        cause: why there are no weights.
    """

    name: str
    weights: "Callable[[], dict[str, Tensor]] | None"
    cause: str = ""


class IngredientDiverged(Diverged):
    """An ingredient that a soup cannot do without has diverged, and would again."""

    def __init__(self, cause: str):
        super().__init__(step=0)
        self.args = (cause,)


class Soup(After):
    """The mean of several runs that differ in learning rate and seed.

    The ingredients are the runs with the same settings but without `after`, for every combination of the
    listed learning rates and seeds; a list that is left out stands for the run's own value, and one that is
    given takes its place. They are runs of their own: found in the store where a study has them already, else
    tuned and published, one after the other, as part of this run. `engine.timeout` is for the whole soup; one
    that was ended finds its ingredients again. Without a store they are tuned in memory.

    Averaged are effective weights, as they stand once merged, and heads; all heads start alike. Methods that
    cannot be merged are refused. The result is a plain model, with no adapter to take off: its saved weights
    are those of the model's own parameters that the method changes, by their plain names, and the head.

    Args:
        lr: learning rates of the ingredients.
        seeds: their seeds.
    """

    lr: tuple[Positive, ...] = ()
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()

    @model_validator(mode="after")
    def _at_least_two(self):
        for name, listed in (("lr", self.lr), ("seeds", self.seeds)):
            if len(set(listed)) < len(listed):
                raise ValueError(f"{name}: a value stands twice; each ingredient goes in once")
        if max(len(self.lr), 1) * max(len(self.seeds), 1) < 2:
            raise ValueError("a soup has at least two ingredients; list several of 'lr' or 'seeds'")
        return self

    def ingredients(self, spec: RunSpec) -> dict[str, RunSpec]:
        """The runs whose weights go in, by what tells them apart.

        Args:
            spec: the soup's own run.
        """
        return {
            f"lr={lr} seed={seed}": spec.model_copy(update={"after": None, "lr": lr, "seed": seed})
            for lr, seed in product(self.lr or (spec.lr,), self.seeds or (spec.seed,))
        }

    def check(self, installed: "Installed") -> None:
        """Merge it. Raises MethodError where that cannot be done."""
        try:
            installed.merge()
        except MethodError as error:
            raise MethodError(f"{self.kind} averages merged weights: {error}") from None

    @abstractmethod
    def average(
        self, mean: "ModelMean", ingredients: Iterable[Ingredient], score: "Score", log: "Log"
    ) -> "list[Row]":
        """Leave the mean of those that go in in the model.

        Args:
            mean: an empty one.
            ingredients: in the order of `ingredients`; each is made when it is its turn.
            score: of the model as it stands, on the task's validation examples.
            log: called with a line for every ingredient.

        Returns:
            its rows for the table: `after.ingredients`, and the score.

        Raises:
            IngredientDiverged: too many ingredients have diverged.
        """
