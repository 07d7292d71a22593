"""The three phases: their data, their labels, what learns in each and what stays."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny_training import quiet
from tokens.acm.network import AcmSettings
from tokens.acm.surgery import convert
from tokens.vision_transformer import VisionTransformer, VitSpec
from training.data.sets import DataSet, Split
from training.fitting.in_process import learn
from training.fitting.loop import Job, train
from training.fitting.vit import spec_for
from training.token_choice import distilling, end_to_end, labelling
from training.token_choice.end_to_end import LossWeights, draw_budgets, judge
from training.token_choice.setting import Setting
from training.token_choice.tracing import trace

SETTINGS = {
    "all": AcmSettings(),
    "shared gate": AcmSettings(shared_gate=True),
    "mlp alone": AcmSettings(projections=False),
}
EVERY_SETTING = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())


def tiny_spec(data: DataSet) -> VitSpec:
    return replace(spec_for(data), width=16, layers=1, heads=2, hidden=32, stem=(4, 8, 8))


def make_setting(data: DataSet, settings: AcmSettings) -> Setting:
    torch.manual_seed(0)
    dense = VisionTransformer(tiny_spec(data)).eval()
    return Setting(convert(dense, settings, "random"), dense, data, 1, "tiny")


def end_job(setting: Setting, epochs: int, beta: float | None = None) -> Job:
    return end_to_end.make_job(
        setting, name="acm", epochs=epochs, beta=beta, teacher=None, weights=LossWeights()
    )


def copy_weights(setting: Setting) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in setting.net.state_dict().items()}


def find_changed(before: dict[str, torch.Tensor], setting: Setting) -> set[str]:
    now = setting.net.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, now[name])}


@EVERY_SETTING
def test_a_trace_is_what_each_replaced_layer_takes_and_gives(
    tiny_data: DataSet, settings: AcmSettings
) -> None:
    setting = make_setting(tiny_data, settings)
    taken: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    block = setting.dense.blocks[0]
    for name in ("attention.q", "attention.k", "attention.v", "attention.o", "mlp"):
        block.get_submodule(name).register_forward_hook(
            lambda _, args, out, name=name: taken.update({name: (args[0], out)})
        )
    pictures = torch.from_numpy(tiny_data.train.pictures[:3])
    with torch.no_grad():
        setting.dense(pictures)
    traced = trace(setting.dense, pictures, settings)
    modules = setting.net.modules_in_order()
    assert [len(one.outputs) for one in traced] == [len(acm.layers) for acm in modules]
    seen = [(one.inputs_BTD, output) for one in traced for output in one.outputs]
    wanted = list(taken.values()) if settings.projections else [taken["mlp"]]
    for (inputs, output), (expected_inputs, expected_output) in zip(seen, wanted, strict=True):
        torch.testing.assert_close(inputs, expected_inputs)
        torch.testing.assert_close(output, expected_output)


@EVERY_SETTING
def test_distilling_brings_prefixes_nearer_and_leaves_gates_alone(
    tmp_path: Path, tiny_data: DataSet, settings: AcmSettings
) -> None:
    setting = make_setting(tiny_data, settings)
    job = distilling.make_job(setting, name="one", epochs=3)
    before, weights = job.judge(), copy_weights(setting)
    learn(job, tmp_path, quiet())
    assert job.judge() > before
    changed = find_changed(weights, setting)
    assert changed
    assert all(".layers." in name for name in changed)


def test_a_prefixs_error_has_a_gradient_for_all_of_its_learners(tiny_data: DataSet) -> None:
    setting = make_setting(tiny_data, AcmSettings())
    mlp = setting.net.modules_in_order()[-1]
    traced = trace(setting.dense, torch.from_numpy(tiny_data.train.pictures[:3]), AcmSettings())
    (error,) = distilling.miss(mlp, traced[-1])
    error.backward()  # type: ignore[no-untyped-call]
    second = mlp.get_parameter("layers.0.second").grad
    assert second is not None
    assert (second.view(4, -1).abs().sum(dim=1) > 0).all()


def test_labels_are_where_one_more_learner_no_longer_helps() -> None:
    distance_NR = torch.tensor(
        [
            [9.0, 9.0, 9.0, 9.0],
            [8.0, 8.0, 8.0, 8.0],
            [7.9, 4.0, 4.0, 4.0],
            [1.0, 3.9, 2.0, 2.0],
            [1.0, 1.0, 1.0, 1.9],
        ]
    )
    assert labelling.choose_labels(distance_NR).tolist() == [2, 3, 4, 4]
    assert labelling.choose_labels(distance_NR[:2]).tolist() == [1, 1, 1, 1]


def test_labels_of_a_budget_count_the_learners_of_the_largest_gains() -> None:
    distance_NR = torch.tensor([[10.0, 4.0], [6.0, 3.0], [2.0, 2.0], [1.0, 0.0]])
    # Gains of squares: 64, 32, 3 and 7, 5, 4.
    for beta, labels in [
        (0.0, [0, 0]),
        (1 / 6, [1, 0]),
        (1 / 3, [2, 0]),
        (1 / 2, [2, 1]),
        (2 / 3, [2, 2]),
        (5 / 6, [2, 3]),
        (1.0, [3, 3]),
    ]:
        beta_R = torch.full((2,), beta - 1e-4 if 0 < beta < 1 else beta)
        assert labelling.choose_labels_by_gain(distance_NR, beta_R).tolist() == labels, beta


def test_a_learner_never_counts_more_than_the_one_before_it() -> None:
    distance_NR = torch.tensor([[4.0, 4.0], [3.9, 2.0], [0.0, 1.0]])  # the first row gains late
    beta_R = torch.full((2,), 0.5)
    assert labelling.choose_labels_by_gain(distance_NR, beta_R).tolist() == [0, 2]


@pytest.mark.parametrize("every_budget", [True, False])
@EVERY_SETTING
def test_labelling_teaches_gates_and_leaves_learners_alone(
    tmp_path: Path, tiny_data: DataSet, settings: AcmSettings, every_budget: bool
) -> None:
    setting = make_setting(tiny_data, settings)
    job = labelling.make_job(setting, name="two", epochs=3, every_budget=every_budget)
    before = job.judge()
    weights = copy_weights(setting)
    learn(job, tmp_path, quiet())
    assert job.judge() > before
    changed = find_changed(weights, setting)
    assert changed
    assert all(".gate." in name for name in changed)


def test_one_net_learns_to_follow_every_budget(tmp_path: Path, tiny_data: DataSet) -> None:
    setting = make_setting(tiny_data, AcmSettings(projections=False))
    weights = LossWeights(budget=20.0, entropy=0.0, diversity=0.0)  # the task hardly counts
    job = end_to_end.make_job(
        setting, name="acm", epochs=5, beta=None, teacher=None, weights=weights
    )
    learn(replace(job, learning_rate=lambda epoch: 5e-3), tmp_path, quiet())
    little, much = (judge(setting.net, tiny_data.held_out, beta) for beta in (0.2, 0.9))
    assert little.macs < much.macs
    assert sum(little.learners) < sum(much.learners)


def test_phases_resume_as_if_uninterrupted(tmp_path: Path, tiny_data: DataSet) -> None:
    few = Split(tiny_data.train.pictures[:256], tiny_data.train.labels[:256])
    tiny_data = replace(tiny_data, train=few, held_out=few)

    class Stop(Exception):
        pass

    def interrupt(line: dict[str, object]) -> None:
        raise Stop

    whole = make_setting(tiny_data, AcmSettings())
    train(end_job(whole, 2), tmp_path / "whole", lambda line: None)
    with pytest.raises(Stop):
        train(end_job(make_setting(tiny_data, AcmSettings()), 2), tmp_path / "parts", interrupt)
    parts = make_setting(tiny_data, AcmSettings())
    train(end_job(parts, 2), tmp_path / "parts", lambda line: None)
    for name, value in copy_weights(whole).items():
        torch.testing.assert_close(copy_weights(parts)[name], value, msg=name)


def test_a_batch_has_a_budget_from_each_quarter_of_the_range() -> None:
    torch.manual_seed(0)
    beta_B = draw_budgets(128)
    betas = beta_B.tolist()
    distinct = sorted(set(betas))
    assert [betas.count(beta) for beta in distinct] == [32] * 4
    for place, beta in enumerate(distinct):
        assert place <= 4 * beta <= place + 1
