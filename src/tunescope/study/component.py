"""Methods, objectives, penalties, optimisers and probes by name: one lazy static table for each.

A component's settings are the thing itself: one frozen class whose fields are its YAML. Its module is
imported when the name is first used and imports torch only inside its functions, so a study is
validated and planned without torch. A new component is one file and one line in `COMPONENTS`.
"""

from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, SerializeAsAny, field_validator

from tunescope.errors import StudyError, nearest
from tunescope.study.spec import Spec

COMPONENTS: dict[str, dict[str, str]] = {
    "adapt": {
        "full": "tunescope.methods.full:Full",
        "linear_probe": "tunescope.methods.linear_probe:LinearProbe",
        "per_tower": "tunescope.methods.per_tower:PerTower",
        "lp_ft": "tunescope.methods.lp_ft:LPFT",
        "freeze": "tunescope.methods.freeze:Freeze",
        "last_k": "tunescope.methods.last_k:LastK",
        "bitfit": "tunescope.methods.bitfit:BitFit",
        "layernorm": "tunescope.methods.layernorm:LayerNorm",
        "houlsby": "tunescope.methods.houlsby:Houlsby",
        "pfeiffer": "tunescope.methods.pfeiffer:Pfeiffer",
        "parallel_adapter": "tunescope.methods.parallel_adapter:ParallelAdapter",
        "adapter_plus": "tunescope.methods.adapter_plus:AdapterPlus",
        "vpt_shallow": "tunescope.methods.vpt_shallow:VPTShallow",
        "vpt_deep": "tunescope.methods.vpt_deep:VPTDeep",
        "prefix": "tunescope.methods.prefix:Prefix",
        "prompt": "tunescope.methods.prompt:Prompt",
        "lora": "tunescope.methods.lora:LoRA",
        "dora": "tunescope.methods.dora:DoRA",
        "rslora": "tunescope.methods.rslora:RsLoRA",
        "pissa": "tunescope.methods.pissa:PiSSA",
        "adalora": "tunescope.methods.adalora:AdaLoRA",
        "vera": "tunescope.methods.vera:VeRA",
        "loha": "tunescope.methods.loha:LoHa",
        "lokr": "tunescope.methods.lokr:LoKr",
        "oft": "tunescope.methods.oft:OFT",
        "hra": "tunescope.methods.hra:HRA",
        "fourierft": "tunescope.methods.fourierft:FourierFT",
        "ia3": "tunescope.methods.ia3:IA3",
    },
    "objective": {
        "cross_entropy": "tunescope.objectives.cross_entropy:CrossEntropy",
        "squared_error": "tunescope.objectives.squared_error:SquaredError",
        "flyp": "tunescope.objectives.flyp:FLYP",
    },
    "penalty": {
        "attention_kl": "tunescope.objectives.attention_kl:AttentionKL",
        "entropy_floor": "tunescope.objectives.entropy_floor:EntropyFloor",
        "ewc": "tunescope.objectives.ewc:EWC",
        "l2_sp": "tunescope.objectives.l2_sp:L2SP",
        "ldifs": "tunescope.objectives.ldifs:LDIFS",
        "weight_decay": "tunescope.objectives.weight_decay:WeightDecay",
    },
    "optimizer": {
        "adamw": "tunescope.training.optimizers:AdamW",
        "sam": "tunescope.training.sam:SAM",
        "sgd": "tunescope.training.optimizers:SGD",
    },
    "after": {
        "wise_ft": "tunescope.training.wise_ft:WiseFT",
        "uniform_soup": "tunescope.training.uniform_soup:UniformSoup",
        "greedy_soup": "tunescope.training.greedy_soup:GreedySoup",
        "straggler_sparsity": "tunescope.training.straggler_sparsity:StragglerSparsity",
    },
    "probe": {
        "attention": "tunescope.probes.attention:AttentionProbe",
        "heads": "tunescope.probes.heads:HeadsProbe",
        "plasticity": "tunescope.probes.plasticity:PlasticityProbe",
        "pruning": "tunescope.probes.pruning:PruningProbe",
        "path": "tunescope.probes.path:PathProbe",
        "layer_path": "tunescope.probes.layer_path:LayerPathProbe",
        "representation": "tunescope.probes.representation:RepresentationProbe",
        "sharpness": "tunescope.probes.sharpness:SharpnessProbe",
        "transfer": "tunescope.probes.transfer:TransferProbe",
        "updates": "tunescope.probes.updates:UpdatesProbe",
    },
    "partition": {
        "iid": "tunescope.federated.iid:IID",
        "dirichlet": "tunescope.federated.dirichlet:Dirichlet",
        "pathological": "tunescope.federated.pathological:Pathological",
        "by_domain": "tunescope.federated.by_domain:ByDomain",
    },
    "strategy": {
        "naive": "tunescope.federated.naive:Naive",
        "ffa_lora": "tunescope.federated.ffa_lora:FFALoRA",
        "rolora": "tunescope.federated.rolora:RoLoRA",
        "fedex_lora": "tunescope.federated.fedex_lora:FedExLoRA",
        "flora": "tunescope.federated.flora:FLoRA",
        "flexlora": "tunescope.federated.flexlora:FlexLoRA",
        "hetlora": "tunescope.federated.hetlora:HetLoRA",
        "fed_sb": "tunescope.federated.fed_sb:FedSB",
        "fedavg": "tunescope.federated.flower_rules:FedAvg",
        "fedprox": "tunescope.federated.flower_rules:FedProx",
        "fedadam": "tunescope.federated.flower_rules:FedAdam",
        "fedyogi": "tunescope.federated.flower_rules:FedYogi",
        "fedmedian": "tunescope.federated.flower_rules:FedMedian",
        "fedtrimmedavg": "tunescope.federated.flower_rules:FedTrimmedAvg",
        "krum": "tunescope.federated.flower_rules:Krum",
    },
}


class Component(Spec):
    """A named part of a run.

    Subclasses give `kind` its one value as default and count `version` up when they come to other results.
    """

    kind: str
    version: ClassVar[int] = 1
    source: ClassVar[str] = ""  # paper and section

    @field_validator("kind", check_fields=False)
    @classmethod
    def _own_kind(cls, kind: str) -> str:
        own = cls.model_fields["kind"].default
        if kind != own:
            raise ValueError(f"{cls.__name__} is of kind {own!r}, not {kind!r}")
        return kind

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring, for listings."""
        return (cls.__doc__ or "").strip().splitlines()[0]


@cache
def _plugins(table: str) -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=f"tunescope.{table}")}


def names(table: str) -> list[str]:
    """Every name that `table` knows, installed plug-ins included."""
    return sorted(COMPONENTS[table] | _plugins(table))


@cache
def component_class(table: str, name: str) -> type[Component]:
    """The class behind a name.

    Raises:
        StudyError: unknown name; the nearest known one is named.

    >>> component_class("optimizer", "adamx")
    Traceback (most recent call last):
    tunescope.errors.StudyError: unknown optimizer 'adamx'; did you mean 'adamw'? Known: adamw, sam, sgd
    """
    known = _plugins(table) | COMPONENTS[table]
    if name not in known:
        raise StudyError(f"unknown {table} {name!r}; {nearest(name, known)}")
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)


def resolve(table: str, value: Any) -> Component:
    """`"lora"` or `{"kind": "lora", "rank": 4}` → the component with its settings."""
    if isinstance(value, Component):
        return value
    settings = {"kind": value} if isinstance(value, str) else value
    if not isinstance(settings, dict) or not isinstance(settings.get("kind"), str):
        raise ValueError(f"expected a name or a mapping with 'kind', got {value!r}")
    try:
        return component_class(table, settings["kind"]).parse(settings, settings["kind"])
    except StudyError as error:
        raise ValueError(str(error).replace("\n", "; ")) from None


def resolve_or_none(table: str, value: Any) -> Component | None:
    """As `resolve`, for a part that a run may be without."""
    return None if value is None else resolve(table, value)


def each_once(probes: tuple[Component, ...]) -> tuple[Component, ...]:
    """Two probes of one kind write rows that could not be told apart."""
    kinds = [probe.kind for probe in probes]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ValueError(
                f"the probe {kind!r} stands twice, and its rows could not be told apart; keep one"
            )
    return probes


Adapt = Annotated[SerializeAsAny[Component], BeforeValidator(partial(resolve, "adapt"))]
Objective = Annotated[SerializeAsAny[Component], BeforeValidator(partial(resolve, "objective"))]
Penalty = Annotated[SerializeAsAny[Component], BeforeValidator(partial(resolve, "penalty"))]
Optimizer = Annotated[SerializeAsAny[Component], BeforeValidator(partial(resolve, "optimizer"))]
After = Annotated[SerializeAsAny[Component] | None, BeforeValidator(partial(resolve_or_none, "after"))]
Probe = Annotated[SerializeAsAny[Component], BeforeValidator(partial(resolve, "probe"))]
Probes = Annotated[tuple[Probe, ...], AfterValidator(each_once)]
PartitionKind = Annotated[SerializeAsAny[Component], BeforeValidator(partial(resolve, "partition"))]
StrategyKind = Annotated[SerializeAsAny[Component], BeforeValidator(partial(resolve, "strategy"))]
