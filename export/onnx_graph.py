"""From a torch module to a verified ONNX policy in a few milliseconds.

The graph is built once, with a copy of the module whose weights are random and all different; each
export then only replaces the weights inside it. Random, because the exporter merges equal tensors:
with freshly initialised normalisation layers (all ones, all zeros) two layers would share one
tensor from then on. Every result is compared with torch before it is returned.
"""

import copy
import hashlib
import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serl_rt.export.contract import Contract
from serl_rt.export.publish import PolicyFile
from serl_rt.export.verify import PolicyRefused, make_probes, verify_policy

OPSET = 20  # from 21 on group normalisation is an operator that ONNX Runtime runs more slowly
PROBES = 16
PROBES_WITH_IMAGES = 4  # each costs a run of the image encoder


class PolicyExporter:
    """Exports one module again and again as it is trained.

    `module(observation, noise) -> action` takes the contract's fields by name, (batch, *shape), and
    standard normal noise (batch, action_dim); see `PolicyModule`. It may live on any device.
    """

    def __init__(self, module: nn.Module, contract: Contract, recipe: str) -> None:
        self.contract = contract
        self.recipe = recipe
        self.full_exports = 0
        """How often the graph had to be built again; 0 when replacing weights always sufficed."""
        self._module = module
        # A copy of its own: the module may go on being trained while this exports.
        self._replica = copy.deepcopy(module).cpu().eval()
        self._probes = make_probes(contract, PROBES_WITH_IMAGES if contract.images else PROBES)
        self._template = _Template.of(self._replica, contract)

    def export(self, version: int, training_step: int) -> PolicyFile:
        """Export the module as it is now.

        Raises PolicyRefused when the result does not compute what the module does, or gives actions
        that are not finite or beyond [-1, 1].
        """
        state = {key: value.detach().cpu() for key, value in self._module.state_dict().items()}
        self._replica.load_state_dict(state)
        metadata = {
            "contract": self.contract.canonical_json(),
            "contract_id": self.contract.contract_id,
            "version": str(version),
            "training_step": str(training_step),
            "recipe": self.recipe,
        }
        expected = self._expected()
        model = self._fill_template(state, metadata, expected)
        if model is None:
            self.full_exports += 1
            model = _with_metadata(build_graph(self._replica, self.contract), metadata)
            verify_policy(model, self.contract, self._probes, expected)
        return PolicyFile(
            model=model,
            sha256=hashlib.sha256(model).hexdigest(),
            version=version,
            training_step=training_step,
            contract_id=self.contract.contract_id,
            recipe=self.recipe,
        )

    def _expected(self) -> NDArray[np.float32]:
        """Return torch's actions on the probes, (count, action_dim); refuse what is not finite."""
        observation = {k: torch.from_numpy(v) for k, v in self._probes.observation.items()}
        with torch.inference_mode():
            action: Tensor = self._replica(observation, torch.from_numpy(self._probes.noise))
        shape = (len(self._probes), self.contract.action_dim)
        if tuple(action.shape) != shape:
            raise PolicyRefused(f"the module's action has shape {tuple(action.shape)}, not {shape}")
        if not action.isfinite().all():
            raise PolicyRefused("the module's action on a probe observation is not finite")
        return action.numpy().astype(np.float32)

    def _fill_template(
        self,
        state: Mapping[str, Tensor],
        metadata: Mapping[str, str],
        expected: NDArray[np.float32],
    ) -> bytes | None:
        """Return the verified model, or None when replacing weights does not do for this module."""
        if self._template is None:
            return None
        model = self._template.fill(state, metadata)
        try:
            verify_policy(model, self.contract, self._probes, expected)
        except PolicyRefused:
            return None
        return model


class _Template:
    """A graph and the place of each weight in it."""

    def __init__(self, model: onnx.ModelProto, places: Mapping[str, Any]) -> None:
        self._model = model
        self._places = places

    @classmethod
    def of(cls, module: nn.Module, contract: Contract) -> "_Template | None":
        """Build the graph; None when a weight is not found in it under its name and shape."""
        module = copy.deepcopy(module)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in module.state_dict().values():  # not what is fixed for good
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
        model = build_graph(module, contract)
        initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        places = {}
        for key, value in module.state_dict().items():
            place = initializers.get(_Positional.PREFIX + key)
            if place is None:
                return None
            stored = onnx.numpy_helper.to_array(place)
            if stored.dtype != value.numpy().dtype or not np.array_equal(stored, value.numpy()):
                return None
            places[key] = place
        return cls(model, places)

    def fill(self, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
        """Put in weights and metadata."""
        for key, tensor in self._places.items():
            tensor.raw_data = state[key].contiguous().numpy().tobytes()
        return _with_metadata(self._model, metadata)


class _Positional(nn.Module):
    """Takes the inputs in order instead of by name, which is what the exporters can trace."""

    PREFIX = "module."

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs: the observation fields, the images, the noise."""
        *observation, noise = inputs
        action: Tensor = self.module(dict(zip(self.names, observation, strict=True)), noise)
        return action


def build_graph(module: nn.Module, contract: Contract) -> onnx.ModelProto:
    """Export a module with batch size 1, inputs named as the contract's fields.

    TorchScript's exporter takes 0.03 s where the newer one takes 0.7 s (and 3 s the first time),
    and computes the same; the newer one is asked when the older one cannot or is gone.
    """
    probes = make_probes(contract, 2)
    observation, noise = probes.row(1)
    names = tuple(observation)
    inputs = tuple(torch.from_numpy(value) for value in (*observation.values(), noise))
    options: dict[str, Any] = {
        "input_names": [*names, "noise"],
        "output_names": ["action"],
        "opset_version": OPSET,
    }
    wrapped = _Positional(module, names).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the older exporter being the older one
        try:
            buffer: Any = io.BytesIO()
            torch.onnx.export(
                wrapped, inputs, buffer, dynamo=False, do_constant_folding=False, **options
            )
        except Exception:  # the exporters raise what their passes raise
            program = torch.onnx.export(wrapped, inputs, dynamo=True, optimize=False, **options)
            assert program is not None
            return program.model_proto
    return onnx.load_model_from_string(buffer.getvalue())


def _with_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    serialized: bytes = model.SerializeToString()
    return serialized
