"""A share of some weights set to zero, or back to where they were before tuning."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Of = Literal["change", "weight"]
To = Literal["base", "zero"]
By = Literal["random", "magnitude"]


def sparsify(
    tuned: Weights,
    base: Weights,
    share: float,
    *,
    of: Of = "change",
    to: To = "base",
    by: By = "random",
    rescale: bool = False,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Weights of which a share of the entries stands at the base's, or at zero.

    Of the N entries of all tensors together, the k = share·N (rounded) that are taken are those of smallest
    |W₁ − W₀| (`of: change`) or |W₁| (`of: weight`), equal ones in order, or are drawn. Those that are drawn
    at a smaller share are among those drawn at a larger one.

    - `to: base`: they become W₀. `rescale` multiplies the change of all others by N / (N − k), which is
      1 / (1 − share) but for the rounding, so that of drawn entries the expected change is that before.
    - `to: zero`: they become 0, in matrices alone: vectors (norms, biases) are left as they are and not
      counted. `rescale` multiplies what is left of every matrix so that its ‖W‖_F is that before.

    Args:
        tuned: W₁ by name.
        base: W₀ by the same names, of the same shapes.
        share: from 0, which changes nothing, to 1, at which `to: base` leaves W₀; both bit for bit.
        of: what the magnitude is that of.
        to: what the entries become.
        by: how they are taken.
        rescale: whether the others make up for them.
        seed: of the drawing.

    Returns:
        by the same names; tensors of their own but for those that do not change. `tuned` is left as it was.

    Source: Yu et al. 2024 (arXiv 2311.03099), section 3, for drawn changes, rescaled (DARE); Yadav et al.
    2023 (arXiv 2306.01708), section 3, for keeping the large ones (TIES); Han et al. 2015 (arXiv 1506.02626)
    for small weights set to zero.

    >>> tuned, base = {"w": torch.tensor([[1.0, -4.0, 3.0, 2.5]])}, {"w": torch.ones(1, 4)}
    >>> sparsify(tuned, base, 0.5, by="magnitude", rescale=True)["w"].tolist()
    [[1.0, -9.0, 5.0, 1.0]]
    >>> sparsify(tuned, base, 0.5, of="weight", to="zero", by="magnitude")["w"].tolist()
    [[0.0, -4.0, 3.0, 0.0]]
    """
    names = [name for name, value in tuned.items() if to == "base" or value.dim() > 1]
    total = sum(tuned[name].numel() for name in names)
    count = round(share * total)
    if not count:
        return dict(tuned)
    if by == "random":
        order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    else:
        sizes = [
            (tuned[name] - base[name] if of == "change" else tuned[name]).detach().abs().flatten().float()
            for name in names
        ]
        order = torch.cat(sizes).cpu().argsort(stable=True)
    taken = torch.zeros(total, dtype=torch.bool)
    taken[order[:count]] = True
    found = dict(tuned)
    for name, flat in zip(names, taken.split([tuned[name].numel() for name in names]), strict=True):
        before, start = tuned[name].detach(), base[name].detach().to(tuned[name])
        here = flat.view(before.shape).to(before.device)
        if to == "base":
            kept = (
                start + (before - start) * (total / (total - count)) if rescale and count < total else before
            )
            found[name] = torch.where(here, start, kept)
            continue
        left = torch.where(here, torch.zeros_like(before), before)
        norm = left.double().norm()
        found[name] = (left * (before.double().norm() / norm)).to(before) if rescale and norm else left
    return found
