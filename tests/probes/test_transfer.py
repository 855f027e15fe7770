import numpy as np
import pytest
import torch

from tunescope.data.examples import Examples
from tunescope.errors import ModelError
from tunescope.models.heads import LinearHead
from tunescope.probes.probe import Subject
from tunescope.probes.scores import scores
from tunescope.probes.transfer import TransferProbe
from tunescope.results.metric import declared

TEMPLATES = ("a photo of a {}.", "{}")


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
    return scores(np.array(logits), part.labels)


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
    assert count == len(rows) == 3 * 2 * 6 + 7


def test_a_model_without_text_is_read_under_its_trained_head_alone(tiny):
    encoder = tiny("vit")
    subject = parts(encoder.preprocess.size)
    zero_shot = subject.pop("zero_shot:names")
    rows = TransferProbe().measure(Subject(encoder, random_head(encoder), "vision", subject)).rows
    assert {row.component for row in rows} == {"trained"}
    assert TransferProbe().measure(Subject(encoder, None, "vision", subject)).rows == []
    with pytest.raises(ModelError, match="no text tower"):
        TransferProbe().measure(Subject(encoder, None, "vision", {"zero_shot:names": zero_shot}))


def told(split, n, labels, class_names):
    texts = np.array([f"text {i}" for i in range(n)], dtype=object)
    return Examples(texts, labels, tuple(map(str, range(n))), class_names, ("{}",), split)


def test_texts_are_read_under_the_trained_head_alone(tiny):
    encoder = tiny("clip")
    parts = {
        split: told(split, 7, np.arange(7) % 3, ("a", "b", "c")) for split in ("val", "probe", "shift:x")
    }
    head = random_head(encoder)
    rows = TransferProbe().measure(Subject(encoder, head, "text", parts, batch_size=4)).rows
    assert {(row.split, row.component) for row in rows} == {("val", "trained"), ("shift:x", "trained")}
    with torch.no_grad():
        logits = torch.cat([head(encoder.text_features([text])) for text in parts["val"].inputs])
    expected = scores(logits.double().numpy(), parts["val"].labels)
    found = {row.metric: row for row in rows if row.split == "val"}
    assert found.keys() == {f"transfer.{quantity}" for quantity in expected}
    for quantity, score in expected.items():
        assert found[f"transfer.{quantity}"].value == pytest.approx(score.value, abs=2e-5)


def test_numbers_have_correlations_and_errors(tiny):
    encoder, labels = tiny("clip"), np.linspace(0, 5, 9)
    part = told("test", 9, labels, ())
    head = random_head(encoder, 1)
    rows = TransferProbe().measure(Subject(encoder, head, "text", {"test": part}, batch_size=4)).rows
    found = {row.metric: row.value for row in rows}
    with torch.no_grad():
        outputs = [head(encoder.text_features([text])).item() for text in part.inputs]
    assert found["transfer.pearson"] == pytest.approx(np.corrcoef(outputs, labels)[0, 1], abs=1e-4)
    assert found["transfer.squared_error"] == pytest.approx(np.mean((outputs - labels) ** 2), rel=1e-4)
    assert found.keys() == {"transfer.pearson", "transfer.spearman", "transfer.squared_error"}
    assert TransferProbe().measure(Subject(encoder, None, "text", {"test": part})).rows == []


def test_every_metric_is_declared_with_what_is_compared():
    for metric in TransferProbe.metrics:
        assert metric.dims == ("component", "split")
        assert {f"{metric.name}.{d}" for d in metric.derived} <= set(declared())
    compared = {metric.name.split(".")[1]: set(metric.derived) for metric in TransferProbe.metrics}
    assert compared["acc1"] == {"base", "base_only", "change", "retention"}
    assert compared["ece"] == compared["matthews"] == {"base", "base_only", "change"}
    assert compared["spearman"] == {"base_only"}
