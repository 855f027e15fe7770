import pytest

import tunescope as ts


def test_everything_on_the_face_is_there():
    for name in dir(ts):
        assert getattr(ts, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'tuen'"):
        ts.tuen  # noqa: B018


def test_tune_and_measure_without_a_study_file():
    tuned = ts.tune(
        "emoji-clip",
        data="emoji/openmoji",
        label="group",
        adapt=ts.LoRA(rank=2),
        lr=1e-3,
        train={"epochs": 1},
        probes=["transfer"],
    )
    values = {(row.metric, row.component, row.split): row.value for row in ts.measure(tuned).rows}
    chance = 1 / 8
    assert values["transfer.acc1", "trained", "test"] > 1.5 * chance
    assert values["transfer.acc1.base", "text", "test"] > 1.5 * chance
    off, base = (values[f"transfer.acc1.{state}", "text", "test"] for state in ("base_only", "base"))
    assert off == base, "a LoRA that is taken off leaves the base model"
    retained = values["transfer.acc1", "text", "test"] / base
    assert values["transfer.acc1.retention", "text", "test"] == pytest.approx(retained)


def test_a_mistake_is_a_tunescope_error():
    with pytest.raises(ts.TunescopeError, match=r"lr.*greater than 0"):
        ts.tune("emoji-clip", data="emoji/openmoji", lr=0)
