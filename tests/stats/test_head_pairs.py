import planted_heads as planted

from tunescope.stats.head_pairs import pairs, settings_of
from tunescope.stats.headwise import headwise

RANK = {"adapt": {"kind": "lora", "rank": 8}}


def found(runs, *settings):
    made = planted.study(runs=runs, seeds=[0])
    return pairs(settings_of(headwise(planted.table(settings, seeds=(0,)))), made)


def test_every_setting_against_the_nearest_of_the_first_group():
    runs = {"full": {"adapt": "full", "lr": [1e-5, 1e-3]}, "lora": {**RANK, "lr": [1e-5, 5e-3]}}
    rates = [("full", 1e-5), ("full", 1e-3), ("lora", 1e-5), ("lora", 5e-3)]
    assert found(runs, *((group, {"lr": lr}) for group, lr in rates)) == [
        ("full lr=1e-05", "lora lr=1e-05"),  # shares its learning rate
        ("full lr=0.001", "lora lr=0.005"),  # the nearest
    ]


def test_tasks_are_held_against_each_other_and_ways_of_tuning_within_a_task():
    tasks = ["emoji/openmoji", "emoji/noto"]
    runs = {
        "full": {"adapt": "full", "lr": 1e-4, "task": {"data": tasks}},
        "lora": {**RANK, "lr": 1e-3, "task": {"data": tasks}},
    }
    settings = [
        (group, {"lr": lr, "data": data}) for group, lr in (("full", 1e-4), ("lora", 1e-3)) for data in tasks
    ]
    full, noto, lora, lora_noto = (f"{group} lr={lr['lr']:g} data={lr['data']}" for group, lr in settings)
    assert found(runs, *settings) == [(full, lora), (noto, lora_noto), (full, noto), (lora, lora_noto)]


def test_a_task_that_a_group_keeps_to_itself_is_known_from_the_study():
    runs = {
        "full": {"adapt": "full", "lr": 1e-4},
        "full_noto": {"adapt": "full", "lr": 1e-4, "task": {"data": "emoji/noto"}},
        "lora_noto": {**RANK, "lr": 1e-4, "task": {"data": "emoji/noto"}},
    }
    assert found(runs, *((group, {"lr": 1e-4}) for group in runs)) == [
        ("full_noto lr=0.0001", "lora_noto lr=0.0001")
    ]


def test_runs_of_another_study_go_by_their_factors():
    runs = {"full": {"adapt": "full", "lr": 1e-4}}
    settings = [("a", {"model": "x"}), ("b", {"model": "x"}), ("c", {"model": "y"}), ("a", {"model": "y"})]
    assert found(runs, *settings) == [("a model=x", "b model=x"), ("c model=y", "a model=y")]
