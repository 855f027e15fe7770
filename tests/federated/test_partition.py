import numpy as np
import pytest

from tunescope.errors import DataError, StudyError
from tunescope.federated.partition import Partition, counts
from tunescope.study.component import component_class, resolve

LABELS = np.repeat(np.arange(6), [30, 40, 50, 60, 70, 50])
DOMAINS = [("noto", "openmoji", "twemoji")[i % 7 % 3] for i in range(len(LABELS))]
ALL = [
    {"kind": "iid", "clients": 7},
    {"kind": "iid", "clients": 1},
    {"kind": "dirichlet", "clients": 5, "alpha": 0.3, "min_examples": 20},
    {"kind": "dirichlet", "clients": 1, "alpha": 0.3},
    {"kind": "pathological", "clients": 5, "classes": 2},
    {"kind": "pathological", "clients": 12, "classes": 3},
    {"kind": "by_domain"},
]


def partition(**said) -> Partition:
    found = resolve("partition", said)
    assert isinstance(found, Partition)
    return found


@pytest.mark.parametrize("said", ALL, ids=str)
def test_every_example_has_one_client_and_the_seed_decides(said):
    split = partition(**said).split
    parts, again, other = (split(LABELS, DOMAINS, seed) for seed in (3, 3, 4))
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(LABELS)))
    assert all((np.diff(of) > 0).all() and of.dtype == np.int64 for of in parts.values())
    assert min(map(len, parts.values())) >= said.get("min_examples", 1)
    assert list(parts) == sorted(parts)
    assert all(np.array_equal(parts[client], again[client]) for client in parts)
    drawn = said.get("clients", 1) > 1  # one client holds all in ascending order, as a central run does
    assert drawn == any(not np.array_equal(parts[client], other[client]) for client in parts)
    table = counts(parts, LABELS, list("abcdef"))
    assert len(table) == 6 * len(parts)
    for client, indices in parts.items():
        held = {row.label: row.n for row in table if row.client == client}
        assert held == {name: sum(LABELS[i] == c for i in indices) for c, name in enumerate("abcdef")}


def test_iid_sizes_and_shares_are_even():
    parts = partition(kind="iid", clients=7).split(LABELS)
    assert set(map(len, parts.values())) == {42, 43}
    assert next(iter(parts)) == "client-0"


def test_alpha_says_how_far_apart_the_clients_are():
    """Mean distance of a client's class shares from the whole's falls with α, to nearly nothing."""
    whole = np.bincount(LABELS) / len(LABELS)
    found = []
    for alpha in (0.1, 1.0, 100.0, 1e6):
        parts = partition(kind="dirichlet", clients=4, alpha=alpha).split(LABELS, seed=1)
        shares = [np.bincount(LABELS[of], minlength=6) / len(of) for of in parts.values()]
        found.append(np.mean([np.abs(share - whole).sum() for share in shares]))
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.8
    assert found[-1] < 0.05


def test_dirichlet_shares_have_the_moments_of_dirichlet():
    """Over 400 seeds a client's share of a large class has mean 1/K and variance (K − 1) / (K²·(Kα + 1))."""
    labels, K, alpha = np.zeros(1000, dtype=np.int64), 4, 0.8
    deal = partition(kind="dirichlet", clients=K, alpha=alpha).deal
    shares = np.array(
        [len(deal(labels, None, np.random.default_rng(seed))["client-0"]) / 1000 for seed in range(400)]
    )
    # clients without any example are drawn again: at α = 0.8 that moves the moments by less than the noise
    assert shares.mean() == pytest.approx(1 / K, abs=0.035)
    assert shares.var() == pytest.approx((K - 1) / (K**2 * (K * alpha + 1)), rel=0.2)


def test_pathological_clients_hold_their_number_of_classes():
    for clients, classes in ((3, 2), (5, 2), (12, 3), (4, 6)):
        parts = partition(kind="pathological", clients=clients, classes=classes).split(LABELS, seed=clients)
        assert {len(set(LABELS[of])) for of in parts.values()} == {classes}
        owners = [sum(label in LABELS[of] for of in parts.values()) for label in range(6)]
        assert max(owners) - min(owners) <= 1
        assert min(owners) >= 1


def test_by_domain_is_what_the_domains_are():
    parts = partition(kind="by_domain").split(LABELS, DOMAINS)
    assert {client: {DOMAINS[i] for i in of} for client, of in parts.items()} == {
        name: {name} for name in ("noto", "openmoji", "twemoji")
    }


@pytest.mark.parametrize(
    ("said", "labels", "message"),
    [
        ({"kind": "iid", "clients": 10}, LABELS[:9], "'client-9' holds 0 of 9 examples; at least 1"),
        ({"kind": "iid", "clients": 2, "min_examples": 6}, LABELS[:10], "at least 6 are asked for"),
        ({"kind": "dirichlet", "clients": 4, "alpha": 1e-3, "min_examples": 72}, LABELS, "a larger alpha"),
        ({"kind": "dirichlet", "clients": 301}, LABELS, "never gave each of 301 clients 1 of 300"),
        ({"kind": "dirichlet"}, LABELS / 2, "it deals by class, and the labels are float64"),
        ({"kind": "pathological", "clients": 2, "classes": 2}, LABELS, "cannot hold all 6 classes"),
        ({"kind": "pathological", "classes": 7}, LABELS, "but there are 6; take a smaller `classes`"),
        ({"kind": "pathological", "clients": 9, "classes": 2}, np.arange(6), "has 1 examples for 3 clients"),
        ({"kind": "by_domain"}, LABELS, "and none is known"),
    ],
)
def test_what_cannot_be_done_says_so(said, labels, message):
    with pytest.raises(DataError, match=message):
        partition(**said).split(labels)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="unknown key 'client'; did you mean 'clients'"):
        partition(kind="iid", client=3)
    with pytest.raises(ValueError, match="alpha"):
        partition(kind="dirichlet", alpha=0)
    with pytest.raises(StudyError, match="did you mean 'dirichlet'"):
        component_class("partition", "dirichelt")
