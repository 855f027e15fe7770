"""A federated study in the form that CLIP users write: `model: {type: clip, lora: …}`, `client`, `server`.

One translation into an ordinary study. What a file leaves out is as in the example of that form
(`studies/seed_clip_lora.yaml`), and what that does not say is as in a study of our own form.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from tunescope.errors import nearest
from tunescope.study.clip_settings import ClipSettings, Rank
from tunescope.study.component import Probes, StrategyKind, names, resolve
from tunescope.study.engine import Engine
from tunescope.study.run import Transfer
from tunescope.study.spec import Spec

AtLeastOne = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
# What only some partitions have: the key here, the partition's own, and which they are.
SETTINGS = {
    "num_clients": ("clients", ("iid", "dirichlet", "pathological")),
    "alpha": ("alpha", ("dirichlet",)),
    "classes_per_client": ("classes", ("pathological",)),
}


def _partition(name: str) -> str:
    if name not in names("partition"):
        raise ValueError(f"unknown partition {name!r}; {nearest(name, names('partition'))}")
    return name


class Client(Spec):
    """What a client does in a round.

    Args:
        local_epochs: how often it sees each of its examples.
        learning_rate: peak rate of all clients; `optimizer.learning_rate` is another place for the same.
        ranks: the rank of LoRA at single clients, by name, in the place of the model's.
    """

    local_epochs: AtLeastOne = 3
    learning_rate: Positive | None = None
    ranks: dict[str, Rank] = Field(default_factory=dict)


class AdamW(Spec):
    """The clients' optimiser, AdamW.

    Args:
        learning_rate: peak rate.
        weight_decay: of matrices.
    """

    learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


class Data(Spec):
    """The examples, and which client holds which.

    Args:
        batch_size: examples in one step.
        dataset: a data reference, such as `folder:photos`.
        label: which label is learnt, where the data set has several.
        partition: `iid`, `dirichlet`, `pathological` or `by_domain`.
        num_clients: how many clients there are; not of `by_domain`.
        alpha: of `dirichlet`.
        classes_per_client: of `pathological`.
        domains: data references, one for each client of `by_domain`.
    """

    batch_size: AtLeastOne = 32
    dataset: str = "emoji/openmoji"
    label: str | None = None
    partition: Annotated[str, AfterValidator(_partition)] = "iid"
    num_clients: AtLeastOne | None = None
    alpha: Positive | None = None
    classes_per_client: AtLeastOne | None = None
    domains: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _belong_to_the_partition(self):
        for key, (_, partitions) in SETTINGS.items():
            if getattr(self, key) is not None and self.partition not in partitions:
                raise ValueError(
                    f"{key}={getattr(self, key):g} is for partition {' or '.join(partitions)}, and the "
                    f"partition is {self.partition}; give one of these, or remove {key}"
                )
        if (self.partition == "by_domain") != bool(self.domains):
            raise ValueError(
                f"domains={list(self.domains)} and partition {self.partition} do not go together: "
                "by_domain needs the data set of each client, such as domains: [emoji/noto, emoji/twemoji]"
            )
        return self

    def dealt(self) -> dict[str, Any]:
        """The partition in our own form."""
        own = {ours: getattr(self, key) for key, (ours, _) in SETTINGS.items()}
        return {"kind": self.partition} | {key: value for key, value in own.items() if value is not None}


class Server(Spec):
    """What the server does.

    Args:
        num_rounds: how often clients tune and the server joins.
        strategy: how it joins, by name or with settings: `fedavg`, `fedex_lora`, `{kind: fedprox, mu: 0.1}`.
        fraction_fit: share of the clients that take part in a round.
        rank_from: the rank of LoRA from a round on, by that round.
    """

    num_rounds: AtLeastOne = 10
    strategy: StrategyKind = Field(default_factory=lambda: resolve("strategy", "naive"))
    fraction_fit: Annotated[float, Field(gt=0, le=1)] = 1.0
    rank_from: dict[Annotated[int, Field(ge=2)], Rank] = Field(default_factory=dict)


class SeedForm(Spec):
    """A federated study of one CLIP model.

    Args:
        model: which model, and what of it is tuned.
        client: what clients do.
        optimizer: their optimiser.
        data: what they hold.
        server: how often they meet, and how results are joined.
        seed: of everything that is drawn.
        study, about, transfer, probes, engine: as in our own form; the study is called as its file is.
    """

    study: str | None = None
    about: str | None = None
    model: ClipSettings
    client: Client = Client()
    optimizer: AdamW = AdamW()
    data: Data = Data()
    server: Server = Server()
    seed: Annotated[int, Field(ge=0)] = 0
    transfer: Transfer = Transfer()
    probes: Probes = Field(
        default_factory=lambda: (resolve("probe", "attention"), resolve("probe", "transfer"))
    )
    engine: Engine = Engine()

    @model_validator(mode="after")
    def _one_rate(self):
        rates = (self.client.learning_rate, self.optimizer.learning_rate)
        if None not in rates and rates[0] != rates[1]:
            raise ValueError(
                f"client.learning_rate is {rates[0]:g} and optimizer.learning_rate is {rates[1]:g}: both are "
                "the rate of the clients' optimiser; give one of them, or the same in both"
            )
        return self

    @property
    def rate(self) -> float:
        """The clients' learning rate; 1e-4 where none is said."""
        return self.client.learning_rate or self.optimizer.learning_rate or 1e-4

    def translated(self, name: str) -> dict[str, Any]:
        """The same in our own form, as plain YAML types.

        Args:
            name: of the study, where the form does not say it.
        """
        optimizer = {"kind": "adamw", "weight_decay": self.optimizer.weight_decay}
        federated: dict[str, Any] = {
            "rounds": self.server.num_rounds,
            "local_epochs": self.client.local_epochs,
            "data": list(self.data.domains),
            "partition": self.data.dealt(),
            "strategy": _said(self.server.strategy),
            "sample": self.server.fraction_fit,
            "ranks": self.client.ranks,
            "rank_from": self.server.rank_from,
        }
        run = {"adapt": self.model.adapt(), "objective": self.model.objective(), "lr": self.rate}
        task = {"data": self.data.dataset, "label": self.data.label, "num_classes": self.model.num_classes}
        return {
            "study": self.study or name,
            "about": self.about or self.model.about(),
            "model": self.model.model_name,
            "task": {key: value for key, value in task.items() if value is not None},
            "transfer": _said(self.transfer),
            "train": {"batch_size": self.data.batch_size, "optimizer": optimizer},
            "federated": {key: value for key, value in federated.items() if value not in ([], {})},
            "seeds": [self.seed],
            "probes": [_said(probe) for probe in self.probes],
            "engine": _said(self.engine),
            "runs": {"lora" if self.model.lora.enabled else "full": run},
        }


def _said(part: Spec) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_unset=True)


def is_seed_form(said: Mapping[Any, Any]) -> bool:
    """Whether a file is written in this form: its model is a mapping, and not a name.

    >>> is_seed_form({"model": {"type": "clip"}}), is_seed_form({"model": "emoji-clip"})
    (True, False)
    """
    return isinstance(said.get("model"), Mapping)
