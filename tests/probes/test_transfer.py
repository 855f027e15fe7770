import math

import numpy as np
import pytest
import torch

from tunescope.data.examples import Examples
from tunescope.errors import ModelError
from tunescope.models.heads import LinearHead
from tunescope.probes.probe import Subject
from tunescope.probes.transfer import TransferProbe, scores
from tunescope.results.metric import declared

TEMPLATES = ("a photo of a {}.", "{}")


def plain(logits, labels):
    """Every quantity by plain loops over Python floats."""
    rows = [[float(x) for x in row] for row in logits]
    n, classes = len(rows), len(rows[0])
    top1, top5, losses, confidences = [], [], [], []
    for row, label in zip(rows, labels, strict=True):
        order = sorted(range(classes), key=lambda c: (-row[c], c))
        top1.append(float(order[0] == label))
        top5.append(float(label in order[:5]))
        total = math.fsum(math.exp(x - max(row)) for x in row)
        losses.append(math.log(total) + max(row) - row[label])
        confidences.append(1 / total)
    recalls = []
    for c in sorted(set(labels)):
        mine = [right for right, label in zip(top1, labels, strict=True) if label == c]
        recalls.append(sum(mine) / len(mine))
    gap = 0.0
    for b in range(15):
        inside = [i for i in range(n) if b / 15 < confidences[i] <= (b + 1) / 15]
        if inside:
            accuracy = sum(top1[i] for i in inside) / len(inside)
            confidence = sum(confidences[i] for i in inside) / len(inside)
            gap += len(inside) / n * abs(accuracy - confidence)

    def spread(values):
        mean = math.fsum(values) / n
        return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))

    found = {"acc1": spread(top1), "mean_per_class_recall": (sum(recalls) / len(recalls), None)}
    found |= {"loss": spread(losses), "ece": (gap, None)}
    if classes >= 6:
        found["acc5"] = spread(top5)
    return found


def agree(found, wanted):
    assert found.keys() == wanted.keys()
    for quantity, (value, std) in wanted.items():
        assert found[quantity].value == pytest.approx(value, abs=1e-12)
        assert found[quantity].std == (None if std is None else pytest.approx(std, abs=1e-12))


@pytest.mark.parametrize(
    ("n", "classes", "scale"), [(200, 7, 1.0), (50, 40, 4.0), (2, 3, 0.1), (300, 2, 9.0)]
)
def test_scores_are_those_of_plain_loops(n, classes, scale):
    rng = np.random.default_rng(n)
    logits = rng.normal(size=(n, classes)) * scale
    labels = rng.integers(0, classes, n)
    labels[: n // 4] = 0
    agree(scores(logits, labels), plain(logits, labels.tolist()))


def test_ties_go_to_the_first_class():
    logits = np.round(np.random.default_rng(1).normal(size=(300, 8)))
    labels = np.random.default_rng(2).integers(0, 8, 300)
    agree(scores(logits, labels), plain(logits, labels.tolist()))


def test_a_head_that_says_nothing_is_right_by_chance_only():
    found = scores(np.zeros((30, 10)), np.arange(30) % 10)
    assert found["acc1"].value == pytest.approx(0.1)
    assert found["acc5"].value == pytest.approx(0.5)
    assert found["loss"].value == pytest.approx(math.log(10))
    assert found["ece"].value == pytest.approx(0.0)


def test_what_is_not_a_number_is_never_right():
    logits = np.array([[np.nan, np.nan, np.nan], [np.nan, 1.0, 0.0], [3.0, 1.0, np.inf]])
    found = scores(logits, np.array([0, 1, 0]))
    assert found["acc1"].value == 0
    assert np.isnan(found["loss"].value)
    assert np.isnan(found["ece"].value)


def test_one_example_has_no_spread():
    std = scores(np.array([[1.0, 0.0]]), np.array([0]))["loss"].std
    assert std is not None
    assert math.isnan(std)


def test_recall_counts_classes_alike():
    logits = np.eye(3)[[0] * 9 + [0]]
    found = scores(logits, np.array([0] * 9 + [2]))
    assert found["acc1"].value == pytest.approx(0.9)
    assert found["mean_per_class_recall"].value == pytest.approx(0.5)


def examples(split, n, names, size=32, seed=0):
    rng = np.random.default_rng(seed)
    return Examples(
        inputs=rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8),
        labels=rng.integers(0, len(names), n),
        ids=tuple(map(str, range(n))),
        class_names=tuple(names),
        templates=TEMPLATES,
        split=split,
    )


def parts(size):
    few, many = ("cat", "dog", "tree"), ("ant", "bee", "sun", "moon", "star", "sea", "sand")
    wanted = {"val": (9, few), "probe": (4, few), "test": (11, few)}
    wanted |= {"shift:other": (8, few), "zero_shot:names": (13, many)}
    return {
        split: examples(split, n, names, size, seed)
        for seed, (split, (n, names)) in enumerate(wanted.items())
    }


def random_head(encoder, classes=3):
    head = LinearHead(encoder.feature_dim, classes)
    torch.manual_seed(0)
    torch.nn.init.normal_(head.linear.weight)
    return head


def reference(encoder, part, head=None):
    """Each image alone, in float64, under the trained head or prompts embedded one at a time."""
    weights, bias, scale = [], 0.0, 1.0
    logits = []
    with torch.no_grad():
        if head is None:
            for name in part.class_names:
                each = [encoder.text_features([t.format(name)])[0].double() for t in part.templates]
                mean = torch.stack([e / e.norm() for e in each]).mean(0)
                weights.append(mean / mean.norm())
            scale, bias = encoder.logit_scale.double(), encoder.logit_bias.double()
        for image in part.inputs:
            feature = encoder.features(image[None])[0].double()
            if head is not None:
                row = head.linear.weight.double() @ feature + head.linear.bias.double()
                logits.append(row.tolist())
            else:
                unit = feature / feature.norm()
                logits.append([float(scale * (unit @ weight) + bias) for weight in weights])
    return plain(logits, part.labels.tolist())


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_rows_are_those_of_each_image_alone(tiny, family):
    encoder = tiny(family)
    subject = Subject(encoder, random_head(encoder), "vision", parts(encoder.preprocess.size), batch_size=4)
    rows = TransferProbe().measure(subject).rows
    found = {(row.split, row.component, row.metric): row for row in rows}
    assert len(found) == len(rows)
    assert {row.split for row in rows} == {"val", "test", "shift:other", "zero_shot:names"}
    assert {row.component for row in rows if row.split == "zero_shot:names"} == {"text"}
    count = 0
    for split in ("val", "test", "shift:other", "zero_shot:names"):
        part = subject.examples[split]
        heads = {"text": None} if split.startswith("zero") else {"text": None, "trained": subject.head}
        for component, head in heads.items():
            for quantity, (value, std) in reference(encoder, part, head).items():
                row = found[split, component, f"transfer.{quantity}"]
                assert row.value == pytest.approx(value, abs=2e-5)
                assert row.std == (None if std is None else pytest.approx(std, abs=2e-5))
                assert row.n == len(part)
                count += 1
    assert count == len(rows) == 3 * 2 * 4 + 5


def test_a_model_without_text_is_read_under_its_trained_head_alone(tiny):
    encoder = tiny("vit")
    subject = parts(encoder.preprocess.size)
    zero_shot = subject.pop("zero_shot:names")
    rows = TransferProbe().measure(Subject(encoder, random_head(encoder), "vision", subject)).rows
    assert {row.component for row in rows} == {"trained"}
    assert TransferProbe().measure(Subject(encoder, None, "vision", subject)).rows == []
    with pytest.raises(ModelError, match="no text tower"):
        TransferProbe().measure(Subject(encoder, None, "vision", {"zero_shot:names": zero_shot}))


def test_every_metric_is_declared_with_what_is_compared():
    for metric in TransferProbe.metrics:
        assert metric.dims == ("component", "split")
        assert {f"{metric.name}.{d}" for d in metric.derived} <= set(declared())
    compared = {metric.name.split(".")[1]: set(metric.derived) for metric in TransferProbe.metrics}
    assert compared["acc1"] == {"base", "base_only", "change", "retention"}
    assert compared["ece"] == {"base", "base_only", "change"}
