"""Which parameters belong to one tower of a model."""

from collections.abc import Iterable

from torch import nn

from tunescope.models.modelmap import ModelMap


def tower_parameters(model: nn.Module, modelmap: ModelMap, tower: str) -> dict[str, nn.Parameter]:
    """Every parameter of a tower by dotted name below `model`, in the model's order.

    The tower's own module, and its `final` parts where they stand outside of it (CLIP's `visual_projection`
    does). What no tower owns, such as CLIP's `logit_scale`, is not among them.

    Raises:
        MethodError: the model has no such tower.
    """
    found = modelmap.tower(tower)
    return parameters_below(model, [found.path, *found.final])


def parameters_below(model: nn.Module, paths: Iterable[str]) -> dict[str, nn.Parameter]:
    """Every parameter at or below one of the dotted paths, by name; `""` is the whole model.

    >>> from torch import nn
    >>> model = nn.ModuleDict({"a": nn.Linear(2, 2), "ab": nn.Linear(2, 2)})
    >>> list(parameters_below(model, ["a"]))
    ['a.weight', 'a.bias']
    """
    paths = tuple(paths)
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if any(path in ("", name) or name.startswith(f"{path}.") for path in paths)
    }
