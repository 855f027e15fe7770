import math

import numpy as np
import pytest

from tunescope.probes.scores import errors, f1, matthews, pearson, scores


def plain_f1(predicted, labels, classes):
    """Precision and recall of each class by counting, then their harmonic mean."""
    pairs = list(zip(predicted, labels, strict=True))
    found = {}
    for c in range(classes):
        true, false = (sum(p == c and (y == c) is right for p, y in pairs) for right in (True, False))
        missed = sum(p != c and y == c for p, y in pairs)
        if true + false + missed:
            precision = true / (true + false) if true + false else 0.0
            recall = true / (true + missed) if true + missed else 0.0
            found[c] = 2 * precision * recall / (precision + recall) if true else 0.0
    return found.get(1, 0.0) if classes == 2 else sum(found.values()) / len(found)


def plain_matthews(predicted, labels, classes):
    """The correlation of one-hot matrices, entry by entry."""
    x, y = ([[float(v == c) for c in range(classes)] for v in values] for values in (predicted, labels))
    n = len(x)

    def cov(a, b):
        total = 0.0
        for c in range(classes):
            mean_a, mean_b = (sum(row[c] for row in of) / n for of in (a, b))
            total += sum((a[i][c] - mean_a) * (b[i][c] - mean_b) for i in range(n))
        return total

    within = cov(x, x) * cov(y, y)
    return cov(x, y) / math.sqrt(within) if within > 1e-12 else 0.0


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

    predicted = [sorted(range(classes), key=lambda c, row=row: (-row[c], c))[0] for row in rows]
    found = {"acc1": spread(top1), "mean_per_class_recall": (sum(recalls) / len(recalls), None)}
    found |= {"f1": (plain_f1(predicted, labels, classes), None)}
    found |= {"matthews": (plain_matthews(predicted, labels, classes), None)}
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


def test_f1_of_two_classes_is_that_of_the_second():
    predicted, labels = np.array([1, 1, 1, 0, 0]), np.array([1, 1, 0, 1, 0])
    assert f1(predicted, labels, 2) == pytest.approx(2 / 3)
    assert f1(1 - predicted, 1 - labels, 2) == pytest.approx(1 / 2)
    assert f1(np.zeros(3, int), np.zeros(3, int), 2) == 0  # nothing positive is there or found
    assert f1(np.zeros(3, int), np.zeros(3, int), 40) == 1  # classes that do not occur do not count


@pytest.mark.parametrize("classes", [2, 3, 30])
def test_matthews_is_one_for_all_right_and_nothing_for_one_class(classes):
    labels = np.arange(90) % classes
    assert matthews(labels, labels, classes) == 1
    assert matthews(np.zeros(90, int), labels, classes) == 0
    assert matthews(labels, np.ones(90, int), classes) == 0
    if classes == 2:
        assert matthews(1 - labels, labels, classes) == -1


def test_matthews_of_two_classes_is_phi():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    predicted = np.where(rng.random(300) < 0.7, labels, 1 - labels)
    assert matthews(predicted, labels, 2) == pytest.approx(np.corrcoef(predicted, labels)[0, 1], abs=1e-12)


def test_what_is_not_a_number_has_no_f1():
    found = scores(np.array([[np.nan, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert all(math.isnan(found[quantity].value) for quantity in ("f1", "matthews"))


def plain_ranks(values):
    """One more than how many are smaller, and half of those that are equal."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]


def plain_pearson(x, y):
    n = len(x)
    mx, my = math.fsum(x) / n, math.fsum(y) / n
    between = math.fsum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return between / math.sqrt(math.fsum((a - mx) ** 2 for a in x) * math.fsum((b - my) ** 2 for b in y))


@pytest.mark.parametrize(("n", "scale"), [(3, 1.0), (40, 1e-6), (200, 1e6)])
def test_errors_are_those_of_plain_loops(n, scale):
    rng = np.random.default_rng(n)
    labels = np.round(rng.uniform(0, 5, n) * 5) / 5  # with ties, as STS-B has
    outputs = (labels + rng.normal(size=n)) * scale
    outputs[: n // 5] = outputs[0]
    found = errors(outputs, labels)
    x, y = outputs.tolist(), labels.tolist()
    squares = [(a - b) ** 2 for a, b in zip(x, y, strict=True)]
    mean = math.fsum(squares) / n
    assert found["pearson"].value == pytest.approx(plain_pearson(x, y), abs=1e-9)
    assert found["spearman"].value == pytest.approx(plain_pearson(plain_ranks(x), plain_ranks(y)), abs=1e-12)
    assert found["squared_error"].value == pytest.approx(mean)
    std = math.sqrt(math.fsum((s - mean) ** 2 for s in squares) / (n - 1))
    assert found["squared_error"].std == pytest.approx(std)
    assert (found["pearson"].std, found["spearman"].std) == (None, None)


def test_what_does_not_vary_correlates_with_nothing():
    found = errors(np.zeros(4), np.arange(4.0))
    assert math.isnan(found["pearson"].value)
    assert math.isnan(found["spearman"].value)
    assert found["squared_error"].value == pytest.approx(3.5)
    found = errors(np.array([0.0, 1.0, np.nan]), np.arange(3.0))
    assert all(math.isnan(score.value) for score in found.values())
    assert pearson(np.array([1.0, 2.0]), np.array([5.0, 6.0])) == 1


def test_a_monotone_output_ranks_as_its_labels():
    labels = np.linspace(0, 5, 30)
    found = errors(np.exp(labels), labels)
    assert found["spearman"].value == pytest.approx(1, abs=1e-12)
    assert found["pearson"].value < 0.95
