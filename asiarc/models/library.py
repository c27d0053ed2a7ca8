"""A mixer of a library, wrapped to the candidate contract: a class of transformers whose cache can be handed over.

``transformers:qwen3_next.Qwen3NextGatedDeltaNet`` is the class of that name in ``transformers.models.qwen3_next``. Its
configuration is made from width and heads (`SIZES`), its cache is replaced by one that is only read and written through
the calls of transformers' linear caches, and goes from call to call as the state. What the library does is not read by
the static gate, which trusts it by name; every other gate runs on it.

Axes: B batch, T tokens, D model width, C convolved channels, W taps.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from asiarc.core.errors import CandidateError

State = dict[str, Tensor | None]

SIZES: dict[str, Callable[[int, int], Any]] = {  # of d_model and num_heads; each where the configuration has it
    "hidden_size": lambda d, h: d,
    "num_hidden_layers": lambda d, h: 2,
    "num_attention_heads": lambda d, h: h,
    "num_key_value_heads": lambda d, h: h,
    "layer_types": lambda d, h: ["linear_attention", "full_attention"],  # some ask for one of each
    "linear_num_key_heads": lambda d, h: h,
    "linear_num_value_heads": lambda d, h: h,
    "linear_key_head_dim": lambda d, h: d // h,
    "linear_value_head_dim": lambda d, h: d // h,
    "expand": lambda d, h: 2,
    "num_heads": lambda d, h: h,
    "head_dim": lambda d, h: 2 * d // h,
    "n_groups": lambda d, h: 1,
    "state_size": lambda d, h: d // h,
    "mamba_n_heads": lambda d, h: h,
    "mamba_d_head": lambda d, h: 2 * d // h,
    "mamba_d_state": lambda d, h: d // h,
    "mamba_n_groups": lambda d, h: 1,
}


class Poisoned(TorchFunctionMode):
    """Memory that is made without values is full of NaN: what a class leaves to its model to initialise is seen."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        return made.fill_(torch.nan) if func is torch.empty and made.is_floating_point() else made


class HandedOver:
    """The cache of one layer as transformers' linear mixers ask for it, of which nothing is written in place."""

    def __init__(self, state: State) -> None:
        self.state = {name: tensor if tensor is None else tensor.clone() for name, tensor in state.items()}

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The last inputs of the convolution [B, C, W], if there were any."""
        return self.state.get(f"conv{state_idx}")

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The memory, if there is one."""
        return self.state.get(f"recurrent{state_idx}")

    def is_recording_past(self, layer_idx: int) -> bool:
        """Always: a mixer then convolves over what came before and now, and changes no cache in place."""
        return True

    def has_previous_state(self, layer_idx: int, state_idx: int = 0) -> bool:
        """Whether anything was read before."""
        return bool(self.state)

    def update_conv_state(
        self, inputs_BCT: Tensor, layer_idx: int, state_idx: int = 0, conv_kernel_size: int | None = None, **_: Any
    ) -> Tensor:
        """What the convolution reads: these inputs, behind those that are kept."""
        taps, before = conv_kernel_size or 4, self.get_conv_state(layer_idx, state_idx)
        read = inputs_BCT if before is None else torch.cat([before, inputs_BCT], -1)
        kept = F.pad(read, (max(0, taps - read.shape[-1]), 0))[..., -taps:]
        self.state[f"conv{state_idx}"] = kept.clone()
        return read

    def update_recurrent_state(self, memory: Tensor, layer_idx: int, state_idx: int = 0, **_: Any) -> Tensor:
        """Keep the memory."""
        self.state[f"recurrent{state_idx}"] = memory
        return memory

    def __getattr__(self, name: str) -> Any:
        raise CandidateError(
            f"it asks its cache for {name}, which is none of what a linear mixer's is asked for, so its state cannot "
            "be handed over"
        )


class LibraryMixer(nn.Module):
    """A library's layer behind the contract of a candidate; `make` constructs it from width and heads."""

    make: Callable[[int, int], nn.Module]

    def __init__(self, d_model: int, num_heads: int, **kwargs: object) -> None:
        super().__init__()
        self.layer = type(self).make(d_model, num_heads)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The state holds the convolution's last inputs and the memory, as the layer wrote them."""
        cache = HandedOver(state or {})
        y = self.layer(x_BTD, cache_params=cache)
        return (y[0] if isinstance(y, tuple) else y), cache.state


def wrapped(given: str) -> type[nn.Module]:
    """The class named by ``transformers:MODEL.Class`` as a candidate's `Mixer`; `CandidateError` where it cannot be."""
    layer_class, config_class = _classes(given)

    def make(d_model: int, num_heads: int) -> nn.Module:
        known = inspect.signature(config_class.__init__).parameters
        config = config_class(**{n: size(d_model, num_heads) for n, size in SIZES.items() if n in known})
        with Poisoned():
            layer = layer_class(config, layer_idx=0)
        left = [name for name, parameter in layer.named_parameters() if parameter.isnan().any()]
        if left:
            raise CandidateError(f"{given} leaves {', '.join(left)} for its model to initialise; a mixer stands alone")
        return layer

    return type("Mixer", (LibraryMixer,), {"make": staticmethod(make), "__doc__": f"{given}, wrapped."})


def _use_torch(module: Any) -> None:
    """Have a model's functions computed by their references in torch: where gates run, no GPU's kernel does."""
    for name, function in list(vars(module).items()):
        if inspect.isfunction(function) and function.__module__.startswith("transformers"):
            setattr(module, name, inspect.unwrap(function))


def _classes(given: str) -> tuple[type[nn.Module], type[Any]]:
    """The layer's class and that of its configuration."""
    library, _, path = given.partition(":")
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(f"{library}.models.{module_name}.modeling_{module_name}")
        _use_torch(module)
        layer_class = getattr(module, name)
    except (ImportError, AttributeError) as error:
        raise CandidateError(
            f"{given}: {error}; write transformers:MODEL.Class, as transformers.models has it"
        ) from error
    if "cache_params" not in inspect.signature(layer_class.forward).parameters:
        raise CandidateError(
            f"{given} takes no cache_params: its state cannot be handed over from call to call, which a mixer's is"
        )
    config_class = typing.get_type_hints(layer_class.__init__).get("config")
    if config_class is None:
        raise CandidateError(f"{given} does not say which configuration it takes, so its sizes cannot be set")
    return layer_class, config_class
