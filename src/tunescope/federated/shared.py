"""A model as what travels: named arrays out of it and into it."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tunescope.errors import MethodError
from tunescope.federated.factors import Change, Factors
from tunescope.federated.job import Arrays
from tunescope.federated.of_factors import FACTORS, added_of, factors_of, others_of, packed
from tunescope.federated.ranks import fitted, merge
from tunescope.federated.strategy import Part
from tunescope.methods.low_rank import pattern
from tunescope.methods.method import Installed
from tunescope.methods.per_tower import InstalledPerTower

ADAPTER = "default"  # peft's name for the one adapter
ENCODER, HEAD = "encoder.", "head."
ALL: tuple[Part, ...] = ("a", "b", "core")


class Core(nn.Module):
    """The small matrix of Fed-SB: B is used as B·R."""

    def __init__(self, rank: int, device: torch.device):
        super().__init__()
        self.core = nn.Parameter(torch.zeros(rank, rank, device=device))

    def forward(self, b: Tensor) -> Tensor:
        """B·R."""
        return b @ self.core


class Shared:
    """What of a model travels: the trained part alone, LoRA's factors apart where a strategy asks for them.

    Args:
        installed: the method at work on the encoder.
        head: its parameters that require gradients travel.
        factored: whether LoRA's factors are named as such, which our strategies read.
        core: whether a core R stands between B and A (Fed-SB). B is drawn anew then, with orthonormal
            columns, and R is zero.
        seed: of that draw.

    Attributes:
        layers: those that hold factors, by path.
    """

    def __init__(
        self, installed: Installed, head: nn.Module, factored: bool, core: bool = False, seed: int = 0
    ):
        self.installed, self.head = installed, head
        self.model = installed.encoder.model
        self.layers = lora_layers(self.model) if factored else {}
        inside = tuple(f"{path}." for path in self.layers)
        self.plain = {n: p for n, p in installed.trainable.items() if not n.startswith(inside)}
        self.heads = {n: p for n, p in head.named_parameters() if p.requires_grad}
        self.untouched: dict[str, Tensor] = {}  # base weights, of what has been added to
        if core:
            self._put_cores(seed)

    def arrays(self) -> dict[str, NDArray]:
        """What travels, as the model has it now; additions to base weights are not told."""
        others = {ENCODER + name: value for name, value in (self.plain | self._moving()).items()}
        others |= {HEAD + name: value for name, value in self.heads.items()}
        factors = {path: self._factors(path) for path in self.layers}
        return packed(factors, {}, {name: _array(value) for name, value in others.items()})

    def named(self) -> dict[str, nn.Parameter]:
        """The parameters that travel, by the names under which they do."""
        found = {ENCODER + name: p for name, p in self.plain.items()}
        found |= {HEAD + name: p for name, p in self.heads.items()}
        for path in self.layers:
            found |= {f"{FACTORS}{path}/{part}": p for part, (_, p) in self._parts(path).items()}
        return found

    def shape(self, arrays: Arrays, trained: Collection[Part] = ALL) -> None:
        """Give the factors the ranks that they have in `arrays`, and leave trainable what is trained.

        Args:
            arrays: as `arrays` or a server gives them.
            trained: which factors require gradients.
        """
        trainable = dict(self.plain)
        for path, of in factors_of(arrays).items():
            layer = self.layers[path]
            if of.rank != layer.r[ADAPTER]:
                _resize(layer, of.rank)
            for part, (name, parameter) in self._parts(path).items():
                if part in trained:
                    trainable[f"{path}.{name}"] = parameter
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for parameter in trainable.values():
            parameter.requires_grad_(True)
        self.installed.trainable = trainable

    def put(self, arrays: Arrays) -> None:
        """Put arrays into the model in place; `shape` has given it their ranks."""
        with torch.no_grad():
            for path, of in factors_of(arrays).items():
                parts = {"a": of.a, "b": of.b, "core": of.core}
                for part, (_, parameter) in self._parts(path).items():
                    parameter.copy_(torch.from_numpy(np.asarray(parts[part])))
                self.layers[path].scaling[ADAPTER] = of.scale
            self._add(added_of(arrays))
            held = {ENCODER + name: value for name, value in (self.plain | self._moving()).items()}
            held |= {HEAD + name: value for name, value in self.heads.items()}
            for name, array in others_of(arrays).items():
                held[name].copy_(torch.from_numpy(np.asarray(array)))

    def describe(self) -> None:
        """Have peft's settings, with which an adapter is saved, say the ranks that the layers have."""
        if self.layers:
            ranks = {path: layer.r[ADAPTER] for path, layer in self.layers.items()}
            for name, value in pattern("r", "rank_pattern", ranks).items():
                setattr(self.model.peft_config[ADAPTER], name, value)

    def usual(self, arrays: Arrays) -> dict[str, NDArray]:
        """The same products with every scale as LoRA's settings have it, α / r or α / √r of its own rank."""
        factors = factors_of(arrays)
        for path, of in factors.items():
            if of.core is None:
                alpha, rooted = self.layers[path].lora_alpha[ADAPTER], self.layers[path].use_rslora[ADAPTER]
                factors[path] = fitted(of, of.rank, alpha / (math.sqrt(of.rank) if rooted else of.rank))
        return packed(factors, added_of(arrays), others_of(arrays))

    def finish(self, arrays: Arrays) -> Installed:
        """The model at the end of all rounds, an ordinary one: cores are folded into B, and so is what makes
        a scale another than its rank's; peft's settings say the ranks.

        Where something was added to base weights, the adapter is merged into them too: what was learnt is no
        adapter then.

        Returns:
            the method at work, or the plain model and its weights that have changed.

        Raises:
            MethodError: it has to be merged, and cannot be.
        """
        self.shape(arrays)
        self.put(self.usual(arrays))
        self.describe()
        for layer in self.layers.values():
            if parametrize.is_parametrized(layer.lora_B[ADAPTER]):
                parametrize.remove_parametrizations(layer.lora_B[ADAPTER], "weight", leave_parametrized=True)
                b = layer.lora_B[ADAPTER]
                b.weight = nn.Parameter(b.weight.detach().clone())
        self.installed.trainable = self.plain | {
            f"{path}.{name}": p for path in self.layers for name, p in self._parts(path).values()
        }
        for parameter in self.installed.trainable.values():
            parameter.requires_grad_(True)
        if not added_of(arrays):
            return self.installed
        self.installed.merge()
        encoder, tower = self.installed.encoder, self.installed.tower
        changed = {*self.installed.weights(), *(f"{path}.weight" for path in self.layers)}
        return Installed(encoder, tower, {name: self.model.get_parameter(name) for name in sorted(changed)})

    def _parts(self, path: str) -> dict[Part, tuple[str, nn.Parameter]]:
        """The parameters of a layer's factors, with their names below it."""
        layer = self.layers[path]
        a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
        if not parametrize.is_parametrized(b):
            return {
                "a": (f"lora_A.{ADAPTER}.weight", a.weight),
                "b": (f"lora_B.{ADAPTER}.weight", b.weight),
            }
        below, inner = f"lora_B.{ADAPTER}.parametrizations.weight", b.parametrizations.weight
        return {
            "a": (f"lora_A.{ADAPTER}.weight", a.weight),
            "b": (f"{below}.original", inner.original),
            "core": (f"{below}.0.core", inner[0].core),
        }

    def _factors(self, path: str) -> Factors:
        parts = {part: _array(parameter) for part, (_, parameter) in self._parts(path).items()}
        return Factors(parts["a"], parts["b"], float(self.layers[path].scaling[ADAPTER]), parts.get("core"))

    def _moving(self) -> dict[str, Tensor]:
        """Buffers that training changes (AdaLoRA's scores); those drawn once are everybody's."""
        installed = self.installed
        parts = installed.parts.values() if isinstance(installed, InstalledPerTower) else (installed,)
        drawn = {name for part in parts for name in getattr(part, "drawn", ())}
        return {name: value for name, value in installed.buffers.items() if name not in drawn}

    def _add(self, added: Mapping[str, Change]) -> None:
        for path in added.keys() | self.untouched.keys():
            weight = self.layers[path].get_base_layer().weight
            before = self.untouched.setdefault(path, weight.detach().clone())
            if path in added:
                weight.copy_(torch.from_numpy(merge(_array(before), added[path])))
            else:
                weight.copy_(before)

    def _put_cores(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for path, layer in self.layers.items():
            b = layer.lora_B[ADAPTER]
            rows, rank = b.weight.shape
            if rank > rows:
                raise MethodError(f"fed_sb: rank={rank}, but {path} has {rows} rows; give at most {rows}")
            drawn = torch.linalg.qr(torch.randn(rows, rank, generator=generator))[0]
            with torch.no_grad():
                b.weight.copy_(drawn)
            parametrize.register_parametrization(b, "weight", Core(rank, b.weight.device), unsafe=True)


def lora_layers(model: nn.Module) -> dict[str, Any]:
    """The layers W₀ + s·B·A, by path; none of peft's variants, whose change is another (DoRA)."""
    from peft.tuners.lora.layer import Linear

    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, Linear) and not module.lora_variant
    }


def _resize(layer: Any, rank: int) -> None:
    """Other parameters of another rank, to be filled."""
    a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
    a.weight = nn.Parameter(a.weight.new_zeros(rank, a.in_features))
    b.weight = nn.Parameter(b.weight.new_zeros(b.out_features, rank))
    a.out_features = b.in_features = layer.r[ADAPTER] = rank


def _array(tensor: Tensor) -> NDArray:
    return tensor.detach().cpu().numpy().copy()
