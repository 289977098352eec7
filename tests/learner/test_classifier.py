"""Classifiers and the contrastive and grasp critics: shapes, learning, honest validation."""

from __future__ import annotations

import pytest
import torch
from scenes import squares
from torch import Tensor

from serl_rt.learner.networks.classifier import BinaryClassifier, NWayClassifier
from serl_rt.learner.networks.contrastive import ContrastiveCritic, contrastive_loss
from serl_rt.learner.networks.grasp import GraspCritic
from serl_rt.learner.networks.mlp import MLP
from serl_rt.learner.networks.states import StateEncoder
from serl_rt.learner.optim import make_optimizer
from serl_rt.learner.rewards import (
    ClassifierTraining,
    SuccessPredicate,
    class_probabilities,
    hold_out,
    make_reward_classifier,
    train_reward_classifier,
)
from serl_rt.learner.vision.encoder import Encoder
from serl_rt.learner.vision.encoders import frozen_head, small_encoder
from serl_rt.learner.vision.encoding import EncodingWrapper
from serl_rt.learner.vision.resnet import ResNetTrunk
from serl_rt.learner.vision.trunk import FrozenTrunk

FAST = ClassifierTraining(
    steps=120, batch_size=64, learning_rate=1e-3, cached_crops=3, shift_padding=2, evaluate_every=20
)


def scratch() -> Encoder:
    return small_encoder((24, 24, 3), channels=(8, 16), pooling="none", bottleneck_dim=32)


def frozen() -> Encoder:
    return frozen_head(
        FrozenTrunk(ResNetTrunk((1, 1), base_filters=8)), (24, 24, 3), bottleneck_dim=32
    )


def wrapper(encoder: Encoder) -> EncodingWrapper:
    return EncodingWrapper({"front": encoder}, stack=None)


def labelled(count: int, classes: int = 2) -> tuple[dict[str, Tensor], Tensor]:
    labels = torch.arange(count) % classes
    return {"front": squares(labels)}, labels


@pytest.mark.parametrize("encoder", [scratch, frozen])
def test_reward_classifier_separates_frames_it_has_not_seen(encoder: object) -> None:
    torch.manual_seed(0)
    observations, labels = labelled(240)
    classifier = make_reward_classifier(wrapper(encoder()), hidden_dim=32)  # type: ignore[operator]
    report = train_reward_classifier(classifier, observations, labels, settings=FAST)
    assert report.validation_accuracy >= 0.95
    assert sum(map(sum, report.confusion)) == 48
    fresh = {"front": squares(labels, seed=9)}
    predicate = SuccessPredicate(classifier, threshold=0.5)
    assert (predicate(fresh) == labels.bool()).float().mean() >= 0.95


def test_n_way_classifier_learns_three_outcomes() -> None:
    torch.manual_seed(0)
    observations, labels = labelled(240, classes=3)
    classifier = make_reward_classifier(wrapper(scratch()), num_classes=3, hidden_dim=32)
    assert isinstance(classifier, NWayClassifier)
    report = train_reward_classifier(classifier, observations, labels, settings=FAST)
    assert report.validation_accuracy >= 0.95
    probabilities = class_probabilities(classifier, observations)
    assert torch.allclose(probabilities.sum(-1), torch.ones(240), atol=1e-5)
    predicate = SuccessPredicate(classifier, success_class=2, threshold=0.9)
    assert torch.equal(predicate(observations), probabilities[:, 2] >= 0.9)


def test_labels_without_pattern_do_not_validate() -> None:
    torch.manual_seed(0)
    observations, _ = labelled(200)
    labels = torch.randint(0, 2, (200,))
    classifier = make_reward_classifier(wrapper(scratch()), hidden_dim=32)
    report = train_reward_classifier(classifier, observations, labels, settings=FAST)
    assert report.validation_accuracy < 0.75


def test_episodes_are_held_out_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    episodes = torch.arange(300) // 10
    labels = (torch.arange(300) % 10 > 6).long()  # success at the end of each episode
    train, held_out = hold_out(labels, episodes, 2, 0.2, generator)
    ours, theirs = set(episodes[torch.cat(train)].tolist()), set(episodes[held_out].tolist())
    assert ours | theirs == set(range(30))
    assert not ours & theirs
    assert 6 <= len(theirs) <= 12
    assert sorted(torch.cat((*train, held_out)).tolist()) == list(range(300))
    assert [labels[indices].unique().tolist() for indices in train] == [[0], [1]]


def test_a_seed_settles_the_training() -> None:
    def run() -> Tensor:
        torch.manual_seed(0)
        observations, labels = labelled(80)
        classifier = make_reward_classifier(wrapper(frozen()), hidden_dim=32)
        settings = ClassifierTraining(steps=5, batch_size=16, evaluate_every=5)
        train_reward_classifier(classifier, observations, labels, settings=settings)
        return class_probabilities(classifier, observations)

    assert torch.equal(run(), run())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(9, dtype=torch.int64), "10 frames of 'front' and 9 labels"),
        (torch.full((10,), 2), "labels must be integers from 0 to 1"),
        (torch.zeros(10), "labels must be integers from 0 to 1"),
        (torch.zeros(10, dtype=torch.int64), "class 1 has 0 groups"),
    ],
)
def test_bad_labels_are_refused(labels: Tensor, message: str) -> None:
    classifier = make_reward_classifier(wrapper(scratch()))
    observations = {"front": squares(torch.zeros(10, dtype=torch.int64))}
    with pytest.raises(ValueError, match=message):
        train_reward_classifier(classifier, observations, labels, settings=FAST)


def test_predicate_needs_both_classifier_and_condition() -> None:
    torch.manual_seed(0)
    classifier = make_reward_classifier(wrapper(scratch()))
    observations = {"front": squares(torch.arange(4) % 2), "height": torch.tensor([0.0, 1, 0, 1])}
    certain = SuccessPredicate(classifier, threshold=1e-6, condition=lambda o: o["height"] > 0.5)
    assert certain(observations).tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match=r"threshold = 1.5"):
        SuccessPredicate(classifier, threshold=1.5)


def test_classifiers_have_their_shapes_and_dropout() -> None:
    torch.manual_seed(0)
    encoder, states = StateEncoder(5), torch.randn(7, 5)
    binary = BinaryClassifier(encoder, MLP(5, (8,), activate_final=True, dropout_rate=0.5))
    assert binary(states).shape == (7,)
    assert torch.equal(binary(states), binary(states))
    assert not torch.equal(binary(states, train=True), binary(states, train=True))
    assert NWayClassifier(encoder, MLP(5, (8,)), 4)(states).shape == (7, 4)
    with pytest.raises(ValueError, match="num_classes = 1"):
        NWayClassifier(encoder, MLP(5, (8,)), 1)
    assert GraspCritic(encoder, MLP(5, (8,)), 9)(states).shape == (7, 9)


@pytest.mark.parametrize("twin", [False, True])
def test_contrastive_critic_learns_which_goal_was_reached(twin: bool) -> None:
    torch.manual_seed(0)
    members = 2 if twin else None
    critic = ContrastiveCritic(
        StateEncoder(2),
        StateEncoder(2),
        MLP(4, (32, 32), ensemble_size=members),
        MLP(2, (32, 32), ensemble_size=members),
        twin=twin,
    )
    optimizer = make_optimizer(critic, 3e-3)
    for _ in range(400):
        states, actions = torch.rand(64, 2), torch.rand(64, 2)
        loss = contrastive_loss(critic(states, states + actions, actions))
        optimizer.step(torch.autograd.grad(loss, optimizer.parameters))
    states, actions = torch.rand(64, 2), torch.rand(64, 2)
    values = critic(states, states + actions, actions)
    assert values.shape == ((64, 64, 2) if twin else (64, 64))
    values = values if not twin else values.mean(-1)
    own = values.diagonal()
    rank = (values > own[:, None]).float().sum(1)  # how many other goals look better
    assert rank.mean() < 14.0  # chance is 31.5
