"""A measured number's name in words, for axes, headings and tables."""

from collections.abc import Mapping

WORDS = {
    "attention.entropy": "attention entropy",
    "attention.entropy_normalised": "attention entropy, normalised",
    "attention.erf95": "effective receptive field (95 %)",
    "attention.gini": "Gini coefficient of attention",
    "attention.head_diversity": "head diversity",
    "attention.distance": "attention distance",
    "attention.sink_mass": "attention sink mass",
    "federated.aggregation_error": "aggregation error",
    "federated.bytes_down": "traffic to clients",
    "federated.bytes_up": "traffic from clients",
    "federated.cka": "CKA with what was sent",
    "federated.cka_between": "CKA with the other clients",
    "federated.clients": "clients that took part",
    "federated.drift": "drift between clients",
    "federated.dropped": "clients left out",
    "federated.examples": "examples of a client",
    "federated.global": "accuracy of the global model at clients",
    "federated.held": "examples of a class at a client",
    "federated.loss": "training loss at clients",
    "federated.personal": "accuracy of own models at clients",
    "federated.traffic": "traffic over full fine-tuning's",
    "heads.importance": "head importance",
    "heads.importance_pre": "head importance before tuning",
    "heads.update_relative": "relative update of heads",
    "landscape.barrier": "loss barrier",
    "landscape.failure": "failure of every interpolation",
    "landscape.gain": "gain of the best interpolation",
    "landscape.layer_barrier": "layer's loss barrier",
    "representation.cka": "CKA with the base",
    "representation.drift": "embedding drift",
    "representation.effective_rank": "effective rank of features",
    "training.loss": "training loss",
    "training.memory": "memory",
    "training.seconds": "seconds",
    "training.share": "trained share",
    "training.trainable": "trained parameters",
    "training.val_acc1": "validation accuracy",
    "training.val_loss": "validation loss",
    "transfer.acc1": "accuracy",
    "transfer.acc5": "top-5 accuracy",
    "transfer.ece": "calibration error",
    "transfer.f1": "F1",
    "transfer.loss": "loss",
    "transfer.mean_per_class_recall": "mean recall of classes",
    "transfer.pearson": "Pearson correlation",
    "transfer.spearman": "Spearman correlation",
    "transfer.squared_error": "squared error",
    "weights.update_relative": "relative weight change",
}
FORMS = {
    "base": "{} before tuning",
    "base_only": "{}, adapter off",
    "change": "change of {}",
    "change_relative": "relative change of {}",
    "retention": "{} kept",
    "client": "{} at clients",
}
SPLITS = {"test": "test {}", "val": "validation {}", "probe": "{}", "train": "training {}"}
SETS = {"shift:": "{} under shift", "zero_shot:": "zero-shot {}"}
REDUCED = {"mean": "{}", "mean_abs": "mean magnitude of {}", "max": "largest {}", "min": "smallest {}"}
HEADS = ("trained", "text")


def title(metric: str, where: Mapping[str, str] | None = None, reduce: str = "mean") -> str:
    """What a number is, in words; a metric that has none is called by its name in the table.

    Args:
        metric: its name in the table.
        where: which of its rows: column → glob.
        reduce: what is taken over them: `mean`, `mean_abs`, `max` or `min`.

    >>> title("transfer.acc1.retention", {"split": "zero_shot:emoji/noto:name"})
    'zero-shot accuracy kept (emoji/noto:name)'
    >>> title("attention.entropy.change", {"layer": "5"}, "mean_abs")
    'mean magnitude of change of attention entropy, layer 5'
    >>> title("representation.cka", {"layer": "", "step": "first"})
    'CKA with the base, final features, at the first look'
    >>> title("transfer.acc1", {"split": "shift:*", "component": "text"}), title("my.number")
    ('accuracy under shift, text head', 'my.number')
    >>> title("federated.loss", {"component": "noto", "step": "last"})
    'training loss at clients, noto, in the last round'
    """
    asked = dict(where or {})
    known = metric in WORDS
    base, _, form = (metric, "", "") if known else metric.rpartition(".")
    if base not in WORDS or (form and form not in FORMS):
        said, form = metric, ""
    else:
        said = WORDS[base]
    split = asked.pop("split", "")
    placed, name = _placed(split)
    said = FORMS.get(form, "{}").replace("{}", placed.replace("{}", said))
    rounds = base.startswith("federated.") or form == "client"
    beside = [_beside(column, glob, rounds) for column, glob in asked.items()]
    return ", ".join([REDUCED[reduce].replace("{}", said) + (f" ({name})" if name else ""), *beside])


def _placed(split: str) -> tuple[str, str]:
    """How the split is said, and the name of its data, where it asks for one."""
    for start, words in SETS.items():
        if split.startswith(start):
            name = split.removeprefix(start)
            return words, "" if name == "*" else name
    if split in SPLITS:
        return SPLITS[split], ""
    return "{}", split


def _beside(column: str, glob: str, rounds: bool) -> str:
    if column == "component":
        return f"{glob} head" if glob in HEADS else glob
    if column == "step" and rounds and glob == "*":
        return "over all rounds"
    if column == "step" and rounds:
        return f"in the {glob} round" if glob in ("first", "last") else f"in round {glob}"
    if column == "step" and glob in ("first", "last"):
        return f"at the {glob} look"
    if (column, glob) == ("layer", ""):
        return "final features"
    return f"{column} {glob}"
