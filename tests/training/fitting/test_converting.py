"""Converters learn, end where they would have ended uninterrupted, and are exported as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.data.sets import DataSet
from training.export.converters import (
    check_stage,
    export_classifier,
    export_converter,
    run_stage,
)
from training.export.cost import count_macs
from training.fitting import budget, converting
from training.fitting.converting import ConversionLoss
from training.fitting.loop import Job, train
from training.fitting.targets import Targets, choose_targets
from training.nets.autoencoders import (
    CONVOLUTIONAL,
    DENSE,
    Autoencoder,
    EncoderClassifier,
    Mlp,
    Shape,
)
from training.nets.converter import FixedAutoencoder, FixedClassifier
from training.nets.lenet import branchynet, lenet, truncated
from training.nets.pools import Classifier, Conv, NetSpec

TINY = Shape((4, 8), (), 8)


def make_classifier(data: DataSet, epochs: int, folder: Path) -> Classifier:
    torch.manual_seed(0)
    spec = NetSpec("light", (Conv(8, 2), Conv(8, 2)), 0, erase=False)
    net = Classifier(spec, size=28, classes=4, mean=data.source.mean, std=data.source.std)
    train(budget.job("light", net, data, seed=1, epochs=epochs), folder, lambda line: None)
    return net.eval()


def make_targets(data: DataSet) -> Targets:
    rows = data.train
    easy = np.ones(len(rows.labels), np.bool_)
    return choose_targets(
        "clusters", rows.pictures, rows.labels, easy, np.zeros(len(easy)), classes=4, seed=1
    )


def make_job(
    data: DataSet, light: nn.Module, settings: ConversionLoss, epochs: int
) -> tuple[Job, Autoencoder]:
    torch.manual_seed(2)
    autoencoder = Autoencoder(TINY, 28)
    net = FixedClassifier(autoencoder, light)
    job = converting.job("c", net, data, make_targets(data), settings, seed=1, epochs=epochs)
    return job, autoencoder


def test_a_converter_sees_the_same_pictures_as_every_other_net(
    tiny_data: DataSet, tmp_path: Path
) -> None:
    ours, _ = make_job(
        tiny_data, make_classifier(tiny_data, 1, tmp_path / "ours"), ConversionLoss(), 1
    )
    theirs = budget.job("lenet", lenet(4), tiny_data, seed=1, epochs=1)
    seen = [next(job.batches(np.random.default_rng(3)))[0] for job in (ours, theirs)]
    assert torch.equal(*seen)


def test_macs_are_those_of_the_paper_and_the_mlp_has_as_many(tmp_path: Path) -> None:
    branchy = branchynet(lenet())
    dense = FixedClassifier(Autoencoder(DENSE, 28), truncated(branchy)).eval()
    references = np.zeros((1, 28, 28), np.float32)
    export_converter(dense, references, tmp_path / "a.onnx", 28)
    export_classifier(Mlp((656, 512), 28, 10), tmp_path / "b.onnx", 28)
    converting_macs = count_macs(tmp_path / "a.onnx") - 784  # the distance to one reference
    assert converting_macs == 635_392 + 220_150
    assert abs(count_macs(tmp_path / "b.onnx") / converting_macs - 1) < 0.001


@pytest.mark.parametrize(
    "settings", [ConversionLoss(), ConversionLoss(error="mse"), ConversionLoss(guide=0.1)]
)
def test_a_converter_learns_and_its_classifier_stays(
    tiny_data: DataSet, tmp_path: Path, settings: ConversionLoss
) -> None:
    light = make_classifier(tiny_data, 6, tmp_path)
    before = {name: value.clone() for name, value in light.state_dict().items()}
    job, _ = make_job(tiny_data, light, settings, 8)
    losses: list[float] = []
    train(job, tmp_path, lambda line: losses.append(float(str(line["loss"]))))
    assert losses[-1] < 0.9 * losses[0]
    after = light.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_resumed_training_ends_like_an_uninterrupted_one(
    tiny_data: DataSet, tmp_path: Path
) -> None:
    light = make_classifier(tiny_data, 1, tmp_path)

    class Stop(Exception):
        pass

    def stop(line: dict[str, object]) -> None:
        if line["epoch"] == 1:
            raise Stop

    whole, wanted = make_job(tiny_data, light, ConversionLoss(guide=0.1), 2)
    train(whole, tmp_path / "whole", lambda line: None)
    with pytest.raises(Stop):
        train(make_job(tiny_data, light, ConversionLoss(guide=0.1), 2)[0], tmp_path / "cut", stop)
    job, found = make_job(tiny_data, light, ConversionLoss(guide=0.1), 2)
    train(job, tmp_path / "cut", lambda line: None)
    for name, value in wanted.state_dict().items():
        assert torch.equal(value, found.state_dict()[name]), name


def test_the_recipe_tells_losses_and_targets_apart(tiny_data: DataSet, tmp_path: Path) -> None:
    light = make_classifier(tiny_data, 1, tmp_path)
    recipes = {
        make_job(tiny_data, light, settings, 2)[0].recipe
        for settings in (ConversionLoss(), ConversionLoss(guide=1))
    }
    labels = np.roll(tiny_data.train.labels, 1)
    other = replace(tiny_data, train=replace(tiny_data.train, labels=labels))
    recipes.add(make_job(other, light, ConversionLoss(), 2)[0].recipe)
    assert len(recipes) == 3


def test_the_exported_converter_answers_as_torch_does(tiny_data: DataSet, tmp_path: Path) -> None:
    light = make_classifier(tiny_data, 2, tmp_path)
    branchy = branchynet(lenet(4), 4)
    references = make_targets(tiny_data).references
    pictures = tiny_data.test.pictures[:70]
    for shape, classifier in ((CONVOLUTIONAL, light), (DENSE, truncated(branchy))):
        net = FixedClassifier(Autoencoder(shape, 28), classifier).eval()
        path = tmp_path / "convert.onnx"
        export_converter(net, references, path, 28)
        assert check_stage(net, path, pictures) < 1e-3
        with torch.inference_mode():
            converted = net.autoencoder(torch.from_numpy(pictures)).numpy()
        wanted = ((converted[:, None] - references) ** 2).mean(axis=(2, 3)).min(axis=1)
        assert np.allclose(run_stage(path, pictures, "distance"), wanted, atol=1e-5)
        made = run_stage(path, pictures, "converted").reshape(converted.shape)
        assert np.allclose(made, converted, atol=1e-5)


def test_a_converted_picture_that_is_its_target_has_no_distance(tmp_path: Path) -> None:
    light = Classifier(
        NetSpec("l", (Conv(4, 2),), 0, erase=False), size=8, classes=3, mean=(0.2,), std=(0.3,)
    )
    net = FixedClassifier(Autoencoder(Shape((), (), 2), 8), light).eval()
    nn.init.zeros_(net.autoencoder.decoder[0].weight)  # type: ignore[arg-type]
    picture = np.zeros((1, 8, 8), np.uint8)
    with torch.inference_mode():
        always = net.autoencoder(torch.from_numpy(picture)).numpy()
    export_converter(net, always, tmp_path / "c.onnx", 8)
    (distance,) = run_stage(tmp_path / "c.onnx", picture, "distance")
    assert 0 <= distance < 1e-6


def test_a_net_that_is_not_what_was_exported_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export_classifier(Mlp((8,), 6, 3), path, 6)
    pictures = np.random.default_rng(0).integers(0, 256, (5, 6, 6)).astype(np.uint8)
    with pytest.raises(ValueError, match="logits differ from torch's by"):
        check_stage(Mlp((8,), 6, 3), path, pictures)


def test_a_frozen_encoder_stays_and_a_free_one_learns(tiny_data: DataSet, tmp_path: Path) -> None:
    for frozen in (True, False):
        torch.manual_seed(3)
        encoder = Autoencoder(TINY, 28).encoder
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        net = EncoderClassifier(encoder, 4, frozen=frozen)
        job = budget.job("e", net, tiny_data, seed=1, epochs=1)
        train(job, tmp_path / str(frozen), lambda line: None)
        after = encoder.state_dict()
        assert frozen == all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_classifier_may_be_tuned_on_conversions(tiny_data: DataSet, tmp_path: Path) -> None:
    light = make_classifier(tiny_data, 1, tmp_path)
    autoencoder = Autoencoder(TINY, 28)
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    net = FixedAutoencoder(autoencoder, light)
    losses: list[float] = []
    job = budget.job("t", net, tiny_data, seed=1, epochs=4)
    train(job, tmp_path, lambda line: losses.append(float(str(line["loss"]))))
    assert losses[-1] < losses[0]
    after = autoencoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
