"""DrQ: what it augments, what each loss trains, cached features, and that it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from scenes import squares
from torch import Tensor

from serl_rt.learner.agents.drq import DrQAgent, PixelConfig, prepare_batch
from serl_rt.learner.data.batch import Batch, slice_batch
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.vision.build import EncoderConfig, make_encoding_wrapper
from serl_rt.learner.vision.cache import cache_crops, draw_crop

KEYS = ("front", "wrist")
SHIFTED = PixelConfig()
SMALL: Mapping[str, Any] = {"hidden_dims": (16, 16)}
ENCODERS = {
    "convfast": EncoderConfig("convfast", KEYS, stack=None),
    "joined": EncoderConfig("convfast", KEYS, stack=None, join_cameras=True),
    "resnet-random": EncoderConfig("resnet-random", KEYS, stack=None),
}


def make_batch(count: int = 8, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def observations() -> dict[str, Tensor]:
        shape = (count, 24, 24, 3)
        images = {k: torch.randint(0, 256, shape, generator=generator).byte() for k in KEYS}
        return {**images, "state": torch.randn(count, 5, generator=generator)}

    actions = torch.rand(count, 3, generator=generator) * 2 - 1
    rewards = torch.randn(count, generator=generator)
    return Batch(observations(), actions, observations(), rewards, torch.ones(count))


def make_agent(
    encoder: str = "convfast", pixels: PixelConfig = SHIFTED, **settings: Any
) -> DrQAgent:
    batch = make_batch(1)
    return DrQAgent.create_drq(
        batch.observations,  # type: ignore[arg-type]
        batch.actions,
        encoder=ENCODERS[encoder],
        pixels=pixels,
        critic_network_kwargs=SMALL,
        policy_network_kwargs=SMALL,
        critic_ensemble_size=3,
        **settings,
    )


def parameters(agent: DrQAgent) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in agent.state.networks.named_parameters()}


def changed(agent: DrQAgent, before: Mapping[str, Tensor]) -> set[str]:
    """Top parts whose parameters moved: encoder/front, encoder/proprio, actor, critic, ..."""
    parts = set()
    for name, value in agent.state.networks.named_parameters():
        if not torch.equal(value, before[name]):
            network, module, *rest = name.split(".")
            inside = "images" if "encoders" in rest else "proprio"
            parts.add(f"encoder/{inside}" if module == "encoder" else network)
    return parts


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("share", [False, True])
def test_each_loss_trains_what_it_should(encoder: str, share: bool) -> None:
    agent = make_agent(encoder, PixelConfig(share_encodings=share))
    trunks = [p for p in agent.encoder.parameters() if not p.requires_grad]
    frozen = [p.clone() for p in trunks]
    for network, expected in {
        "critic": {"critic", "encoder/images", "encoder/proprio"},
        "actor": {"actor", "encoder/proprio"},
        "temperature": {"temperature"},
    }.items():
        before = parameters(agent)
        agent.update(make_batch(), (network,))
        assert changed(agent, before) == expected
    assert all(torch.equal(p, f) for p, f in zip(trunks, frozen, strict=True))
    assert bool(trunks) == (encoder == "resnet-random")


def test_actor_loss_reaches_the_encoder_by_the_policy_only() -> None:
    """The critic inside the actor's loss must not train the state projection it shares."""
    agent, batch = make_agent(pixels=PixelConfig(shift_padding=0)), make_batch()
    proprio = list(agent.encoder.proprio.parameters())  # type: ignore[union-attr]
    with torch.no_grad():
        for layer in (agent.actor.mean, agent.actor.std):
            layer.weight.zero_()  # the policy no longer depends on the observation
    loss, _ = agent.sac.losses()["actor"](batch)
    gradients = torch.autograd.grad(loss, proprio, allow_unused=True, materialize_grads=True)
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("share", [False, True])
def test_imitation_trains_the_encoder_by_the_critics_loss_and_no_more(share: bool) -> None:
    pixels = PixelConfig(share_encodings=share, shift_padding=0)
    demonstrated = torch.tensor([1.0, 0.0] * 4)
    batch = make_batch()._replace(demonstrations=demonstrated)
    plain, imitating = make_agent(pixels=pixels), make_agent(pixels=pixels, encoder_bc_weight=0.5)
    encoder = [p for p in imitating.encoder.parameters() if p.requires_grad]

    def gradients(agent: DrQAgent, network: str) -> dict[str, Tensor]:
        loss, _ = agent.sac.losses()[network](batch)
        named = dict(agent.state.networks[network].named_parameters())
        return dict(zip(named, agent.state.gradients(network, loss), strict=True))

    modes = imitating.actor(batch.observations, train_encoder=True).mode()
    distance = ((modes - batch.actions).square().sum(-1) * demonstrated).sum() / 4.0
    by_imitation = {
        id(p): 0.5 * g for p, g in zip(encoder, torch.autograd.grad(distance, encoder), strict=True)
    }
    own = dict(imitating.state.networks["critic"].named_parameters())
    before = gradients(plain, "critic")
    for name, gradient in gradients(imitating, "critic").items():
        expected = before[name] + by_imitation.get(id(own[name]), 0.0)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)
    assert any(g.abs().max() > 1e-4 for g in by_imitation.values())
    for a, b in zip(*(gradients(x, "actor").values() for x in (plain, imitating)), strict=True):
        assert torch.equal(a, b)

    values = parameters(imitating)
    _, info = imitating.update_critics(batch)
    assert changed(imitating, values) == {"critic", "encoder/images", "encoder/proprio"}
    assert float(info["encoder_bc_loss"]) == pytest.approx(float(distance.detach()), rel=1e-5)


def test_targets_follow_and_share_the_frozen_trunk() -> None:
    agent = make_agent("resnet-random")
    target = agent.state.targets["critic"]
    before = [p.clone() for p in target.parameters()]
    agent.update_critics(make_batch())
    online = agent.sac.critic
    for t, old, p in zip(target.parameters(), before, online.parameters(), strict=True):
        assert torch.allclose(t, old + 0.005 * (p - old), atol=1e-7)
    trunk = agent.encoder.encoders["front"].trunk
    assert target.encoder.encoders["front"].trunk is trunk
    assert agent.encoder.encoders["wrist"].trunk is trunk


def test_high_utd_is_that_many_critic_updates_and_one_of_the_rest() -> None:
    plain = PixelConfig(shift_padding=0)
    one, other = make_agent(pixels=plain), make_agent(pixels=plain)
    batch = make_batch(12)
    _, info = one.update_high_utd(batch, utd_ratio=3)
    losses = []
    for start in (0, 4, 8):
        _, part = other.update_critics(slice_batch(batch, start, start + 4))
        losses.append(float(part["critic_loss"]))
    other.update(batch, ("actor", "temperature"))
    assert float(info["critic_loss"]) == pytest.approx(sum(losses) / 3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(parameters(one).values(), parameters(other).values(), strict=True)
    )
    with pytest.raises(ValueError, match="utd_ratio = 5 does not divide the batch of 12"):
        one.update_high_utd(batch, utd_ratio=5)


def test_a_policy_on_an_encoder_that_the_critics_train_is_evaluated_for_each_part() -> None:
    agent = make_agent(pixels=PixelConfig(shift_padding=0))
    seen: list[int] = []
    agent.actor.network.register_forward_hook(lambda _m, _i, out: seen.append(len(out)))
    agent.sac.update_high_utd(agent.prepare(make_batch(12)), utd_ratio=3)
    assert seen == [4, 4, 4, 12, 12]


def test_shared_encodings_agree_with_separate_ones_where_the_target_is_fresh() -> None:
    """At the first update the target encoder equals the online one: nothing may differ."""
    agents = [make_agent(pixels=PixelConfig(share_encodings=share)) for share in (False, True)]
    infos = [agent.update(make_batch())[1] for agent in agents]
    for name, value in infos[0].items():
        assert float(value) == pytest.approx(float(infos[1][name]), rel=1e-4, abs=1e-6)
    for a, b in zip(*(parameters(agent).values() for agent in agents), strict=True):
        assert torch.allclose(a, b, atol=2e-5)


def test_augmentation_draws_differ_between_cameras_and_times_but_follow_the_seed() -> None:
    same = torch.randint(0, 256, (40, 16, 16, 3)).byte()
    observations = {"front": same, "wrist": same, "state": torch.zeros(40, 2)}
    encoder = make_encoding_wrapper(ENCODERS["convfast"], observations)
    vector = torch.zeros(40)
    batch = Batch(observations, torch.zeros(40, 2), dict(observations), vector, vector)

    def run(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        out = prepare_batch(batch, encoder, PixelConfig(shift_padding=2), generator)
        return [part[key] for part in (out.observations, out.next_observations) for key in KEYS]  # type: ignore[call-overload]

    images = run(0)
    assert all(torch.equal(a, b) for a, b in zip(images, run(0), strict=True))
    assert all(not torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])
    assert not torch.equal(images[0], run(1)[0])


def test_reward_bias_moves_the_target() -> None:
    agents = [make_agent(pixels=PixelConfig(reward_bias=bias)) for bias in (0.0, -0.5)]
    plain, biased = (float(a.update_critics(make_batch())[1]["target_qs"]) for a in agents)
    assert biased == pytest.approx(plain - 0.5, abs=1e-5)


def test_cached_crops_are_the_features_of_shifted_images() -> None:
    batch = make_batch(4)
    encoder = make_encoding_wrapper(ENCODERS["resnet-random"], batch.observations)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    cached = cache_crops(encoder, batch.observations, generator, crops=3, dtype=torch.float32)  # type: ignore[arg-type]
    assert cached["front"].shape == (4, 3, 1, 1, 512)
    generator.manual_seed(0)
    repeated = {k: v.repeat_interleave(3, dim=0) for k, v in batch.observations.items()}  # type: ignore[union-attr]
    twelve = Batch(repeated, torch.zeros(12, 3), repeated, torch.zeros(12), torch.ones(12))
    direct = prepare_batch(twelve, encoder, PixelConfig(), generator).observations["front"]  # type: ignore[call-overload]
    assert torch.allclose(cached["front"].flatten(0, 1), direct, atol=1e-4)
    for drawn, crops in zip(draw_crop(cached["front"], generator), cached["front"], strict=True):
        assert any(torch.equal(drawn, crop) for crop in crops)


def test_update_from_cached_features_equals_the_update_from_their_images() -> None:
    plain = PixelConfig(shift_padding=0)
    batch = make_batch()
    direct, cached = make_agent("resnet-random", plain), make_agent("resnet-random", plain)
    features = prepare_batch(batch, cached.encoder, plain, torch.Generator())
    torch.manual_seed(0)
    direct.update(batch)
    torch.manual_seed(0)
    cached.update(features)
    for a, b in zip(parameters(direct).values(), parameters(cached).values(), strict=True):
        assert torch.equal(a, b)


def test_acting_is_deterministic_unless_asked() -> None:
    agent, batch = make_agent("resnet-random"), make_batch()
    one = agent.sample_actions(batch.observations, argmax=True)
    assert torch.equal(one, agent.sample_actions(batch.observations, argmax=True))
    noisy = [
        agent.sample_actions(batch.observations, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])


def test_state_comes_back_bit_exact() -> None:
    agent, other = make_agent(), make_agent(seed=1)
    agent.update(make_batch())
    other.state.load_arrays(agent.state.arrays())
    for each in (agent, other):
        each.update(make_batch(seed=1))
    for a, b in zip(parameters(agent).values(), parameters(other).values(), strict=True):
        assert torch.equal(a, b)


def test_learns_where_the_square_is() -> None:
    """A one-step task: the reward is 1 - |a - x|, x the square's place, seen only in the image."""
    torch.manual_seed(0)
    labels = torch.arange(256) % 4
    images = {"front": squares(labels)}
    agent = DrQAgent.create_drq(
        {"front": images["front"][:1]},
        torch.zeros(1, 1),
        encoder=EncoderConfig("convfast", ("front",), proprio_keys=(), stack=None),
        pixels=PixelConfig(shift_padding=1, share_encodings=True),
        critic_network_kwargs=SMALL,
        policy_network_kwargs=SMALL,
        critic_ensemble_size=2,
        critic_subsample_size=None,
        optimizers={n: OptimizerConfig(3e-3) for n in ("actor", "critic", "temperature")},
    )
    places = labels / 1.5 - 1.0
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        rows = torch.randint(256, (64,), generator=generator)
        actions = torch.rand(64, 1, generator=generator) * 2 - 1
        rewards = 1.0 - (actions[:, 0] - places[rows]).abs()
        seen = {"front": images["front"][rows]}
        agent.update(Batch(seen, actions, seen, rewards, torch.zeros(64)))
    fresh = squares(labels, seed=5)
    actions = agent.sample_actions({"front": fresh}, argmax=True)[:, 0]
    assert (actions - places).abs().mean() < 0.25


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            lambda: EncoderConfig("vgg"),
            "encoder_type 'vgg': choose small, convfast, patches, resnet",
        ),
        (lambda: EncoderConfig(trunk_precision="int8"), "trunk_precision 'int8': choose float32"),
        (lambda: EncoderConfig(image_keys=()), "image_keys is empty"),
        (lambda: EncoderConfig(join_cameras=True), "join_cameras: not with the frozen trunk"),
        (lambda: build(EncoderConfig("small", ("top",), stack=None)), "no 'top' among the obs"),
        (lambda: build(EncoderConfig("small", KEYS)), "expected torch.uint8 of shape .batch, 1, h"),
        (lambda: build(EncoderConfig(image_keys=KEYS, stack=None)), "needs weights: the path of"),
    ],
)
def test_bad_settings_are_named(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config()


def build(config: EncoderConfig) -> None:
    make_encoding_wrapper(config, make_batch(1).observations)  # type: ignore[arg-type]
