"""What a candidate may name: from which modules it may take what, and which attributes a value may be asked for.

Decided by what a name stands for in the torch that is installed (an operator on tensors, a layer, a type, a constant);
only where that cannot be seen are names listed.
"""

from __future__ import annotations

import builtins
import importlib
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from inspect import getmembers, isfunction
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType, ModuleType, TracebackType
from typing import Any

import torch
from torch import nn
from torch.autograd.function import FunctionCtx

from asiarc.kernels.operators import OPERATORS

KERNELS = "asiarc.kernels"
_KERNELS = frozenset(f"{KERNELS}.{name}" for name in OPERATORS)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Where a module offers more than mathematics, what a candidate may take from it.
LISTED: Mapping[str, frozenset[str]] = {
    "__future__": _words("annotations"),
    "collections": _words("ChainMap Counter OrderedDict defaultdict deque namedtuple"),
    "dataclasses": _words("InitVar KW_ONLY asdict astuple dataclass field fields is_dataclass replace"),
    "einops": _words("einsum pack parse_shape rearrange reduce repeat unpack"),
    "einops.layers.torch": _words("EinMix Rearrange Reduce"),
    "functools": _words("partial reduce wraps"),
    "itertools": _words(
        "accumulate chain combinations islice pairwise permutations product repeat starmap zip_longest"
    ),
    "torch.amp": _words("autocast custom_bwd custom_fwd"),
    "torch.autograd": _words("Function enable_grad grad no_grad"),
    "torch.autograd.function": _words("Function FunctionCtx once_differentiable"),
    "torch.func": _words("functional_call grad grad_and_value jacfwd jacrev jvp vjp vmap"),
    "torch.nn.parameter": _words("Buffer Parameter"),
    "torch.nn.utils": frozenset(),
    "torch.nn.utils.parametrizations": _words("orthogonal spectral_norm weight_norm"),
    "torch.utils": frozenset(),
    "torch.utils.checkpoint": _words("checkpoint checkpoint_sequential"),
    "types": _words("MappingProxyType"),
    "typing": _words("NamedTuple TypedDict cast final overload"),
}
# Modules whose public functions, types and constants are mathematics throughout.
_OPEN = _words(
    "collections.abc math torch torch.fft torch.linalg torch.nn torch.nn.functional torch.nn.init torch.special"
)
MODULES = frozenset(LISTED) | _OPEN | _KERNELS
_LEADS = frozenset(module.rsplit(".", i)[0] for module in MODULES for i in range(4))
_TORCH = _words(
    "Generator Size Tensor allclose autocast broadcast_shapes can_cast device dtype enable_grad equal finfo "
    "get_default_dtype iinfo inference_mode is_complex is_floating_point is_grad_enabled is_nonzero is_tensor no_grad "
    "numel promote_types result_type unique unravel_index vmap"
)
# Operators that see more of a tensor than its values: where and how it lies in memory, or a format of its own.
_LAYOUTS = _words("strided sparse resize mkldnn miopen cudnn fbgemm quantize dequantize coalesce resize set file pin")
_LAYOUT_NAMES = _words(
    "backward ccol_indices col_indices crow_indices cpu cuda data detach_ get_device grad int_repr "
    "q_per_channel_scales q_per_channel_zero_points row_indices smm sspaddmm"
)
_OF_TENSORS = _words(
    "H T bfloat16 bool cdouble cfloat data detach_ device dim double dtype element_size equal float half int "
    "is_complex is_contiguous is_floating_point is_leaf is_nonzero item itemsize long nbytes ndim ndimension nelement "
    "new_tensor numel requires_grad shape short size stride type unique"
)
_OF_MODULES = _words(
    "add_module apply bfloat16 buffers children double eval float forward get_buffer get_parameter "
    "get_submodule half modules named_buffers named_children named_modules named_parameters parameters register_buffer "
    "register_module register_parameter requires_grad_ state_dict to train training type zero_grad"
)
_OF_CONTEXTS = _words(
    "mark_dirty mark_non_differentiable needs_input_grad save_for_backward save_for_forward saved_tensors "
    "set_materialize_grads"
)
_OF_OTHERS = _words(
    "_asdict _fields _make _replace apply eps index manual_seed max min resolution smallest_normal tiny type bits "
    "weight_g weight_v"
)
_PLAIN = (
    str, int, float, complex, bool, list, tuple, dict, frozenset, slice, range, deque, defaultdict, OrderedDict,
    Counter, torch.Size, torch.device, torch.dtype,
)  # fmt: skip
_TEXT_OF_ANYTHING = _words("format format_map encode fromhex from_bytes to_bytes hex")
_INTERPRETER = (FrameType, TracebackType, CodeType, GeneratorType, CoroutineType, AsyncGeneratorType, type)
BUILTINS = _words(
    "Ellipsis NotImplemented abs all any bin bool callable classmethod complex dict divmod enumerate filter float "
    "frozenset getattr hasattr int isinstance issubclass iter len list map max min next object pow property range "
    "reversed round set setattr slice sorted staticmethod str sum super tuple type zip"
) | {n for n, v in vars(builtins).items() if isinstance(v, type) and issubclass(v, Exception)}
# Of those, what is a word for a thing of one's own as well, and leads nowhere.
_HARMLESS = _words("byte char close eig get_state layout lstsq lu names new send set_state solve throw")
CHANGES_A_CONTAINER = _words(
    "append appendleft clear extend insert move_to_end pop popitem popleft remove reverse setdefault sort update"
)
# What other code calls on a mixer; a mixer that answers these itself decides how it is counted, moved or trained.
_OWN_ANSWERS = _words("bfloat16 cpu cuda double extra_repr float forward half type")
# Methods that others call and a candidate writes; the second kind while gradients are taken.
WRITTEN = _words(
    "__init__ __post_init__ __len__ __getitem__ __contains__ __iter__ extra_repr forward reset_parameters setup_context"
)
BACKWARD = _words("backward jvp vjp vmap")
BY_TEXT = _words("getattr hasattr setattr")
ONLY_CALLED = BY_TEXT | {"super", "type"}
BOUND_AS_THEY_ARE = ONLY_CALLED | {"frozenset", "isinstance", "range", "enumerate", "set", "str"}
# Exceptions that hold a text, and nothing that could be asked for it.
RAISED = _words(
    "ArithmeticError AssertionError Exception IndexError KeyError LookupError NotImplementedError OverflowError "
    "RuntimeError TypeError ValueError ZeroDivisionError"
)
BASES = RAISED | _words("object typing.NamedTuple typing.Generic typing.Protocol")
# Calls that make what cannot change of what cannot; the second kind makes numbers.
FREEZES = _words(
    "collections.namedtuple dataclasses.field frozenset functools.partial torch.Size torch.device torch.finfo tuple "
    "types.MappingProxyType typing.NamedTuple typing.NewType typing.TypeVar"
)
COUNTS = _words("abs bool complex float int len max min pow range round sum")
READS = _words(
    "all any dict enumerate filter iter len list map max min reversed sorted sum tuple zip "
    "get items keys values index count"
)


def leads(module: str) -> bool:
    """Whether a path is an allowed module, or on the way to one."""
    return module in _LEADS


@cache
def offers(module: str) -> frozenset[str]:
    """The names that a candidate may take from an allowed module, submodules left out."""
    if module not in _OPEN | _KERNELS | {"typing"}:
        return LISTED.get(module, frozenset())
    return LISTED.get(module, frozenset()) | {
        name
        for name, value in getmembers(importlib.import_module(module))
        if not name.startswith("_") and not isinstance(value, ModuleType) and _offered(module, name, value)
    }


def _offered(module: str, name: str, value: Any) -> bool:
    home = getattr(value, "__module__", None) or ""
    if module in _KERNELS:
        return isfunction(value) and home == module
    if module == "typing":
        return name in typing.__all__ and not isfunction(value) and name != "ForwardRef"
    if module == "torch":
        return name in _TORCH or _is_operator(name) or isinstance(value, _CONSTANTS)
    if module == "torch.nn":
        return (isinstance(value, type) and home.startswith("torch.nn.modules")) or name in ("Parameter", "Buffer")
    if module in ("torch.nn.functional", "torch.nn.init"):
        return not isinstance(value, type) and home in (module, "torch", "torch._C._nn") and not _is_layout(name)
    return (
        module in ("math", "collections.abc") or name in torch.__dict__ or (callable(value) and not isfunction(value))
    )


_CONSTANTS = (int, float, torch.dtype, torch.memory_format)


def _is_operator(name: str) -> bool:
    """Whether torch has an operator of this name that gives tensors, and sees their values and shapes alone."""
    if name.startswith("_") or name in _LAYOUT_NAMES or _is_layout(name):
        return False
    return any("Tensor" in str(result.type) for schema in _schemas(name) for result in schema.returns)


def _is_layout(name: str) -> bool:
    return not _LAYOUTS.isdisjoint(name.split("_")) or "sparse" in name or "quantized" in name


def _schemas(operator: str) -> Iterator[Any]:
    packet = getattr(torch.ops.aten, operator, None)
    overloads: Iterable[str] = packet.overloads() if isinstance(packet, torch._ops.OpOverloadPacket) else ()
    return (getattr(packet, overload)._schema for overload in overloads)


@cache
def shares_memory(method: str) -> bool:
    """Whether a tensor method may give the tensor's own memory again; true of what is no method of tensors."""
    schemas = [*_schemas(method)]
    aliases = [result.alias_info for schema in schemas for result in schema.returns if result.alias_info]
    return not schemas or any(not alias.is_write for alias in aliases)


@cache
def attributes() -> frozenset[str]:
    """Attributes that any value may be asked for, beside those that a candidate made itself."""
    layers = [value for _, value in getmembers(nn) if isinstance(value, type) and issubclass(value, nn.Module)]
    of_layers = {n for layer in layers if layer is not nn.Module for n in [*vars(layer), *_declared(layer)]}
    results = {n for _, kind in getmembers(torch.return_types, lambda v: isinstance(v, type)) for n in dir(kind)}
    plain = {n for kind in _PLAIN for n in dir(kind)} - _TEXT_OF_ANYTHING
    public = {n for n in {*of_layers, *results, *plain} if not n.startswith("_")}
    of_tensors = {n for n in dir(torch.Tensor) if _is_operator(n)}
    listed = _OF_TENSORS | _OF_MODULES | _OF_CONTEXTS | _OF_OTHERS | _gates_of_cells()
    return frozenset(public - _machinery()) | of_tensors | listed


def _declared(layer: type) -> Iterator[str]:
    yield from getattr(layer, "__constants__", ())
    yield from getattr(layer, "__annotations__", ())


def _gates_of_cells() -> frozenset[str]:
    """Parameters of recurrent layers and of attention, which torch names at run time."""
    cells = (nn.LSTM(1, 1, 2, bidirectional=True), nn.LSTMCell(1, 1), nn.MultiheadAttention(1, 1))
    return frozenset(name for cell in cells for name, _ in cell.named_parameters() if "." not in name)


def _machinery() -> frozenset[str]:
    return frozenset(dir(nn.Module())) - _OF_MODULES


@cache
def reserved() -> frozenset[str]:
    """Attributes that belong to torch's machinery or the interpreter: a candidate neither reads nor makes them."""
    kinds = (nn.Module(), torch.Tensor, FunctionCtx, torch.Generator, BaseException, *_INTERPRETER)
    return frozenset(name for kind in kinds for name in dir(kind)) - attributes() - _HARMLESS


@cache
def answered_by_torch() -> frozenset[str]:
    """Attributes that a candidate reads and never makes: of `nn.Module`, as whoever trains and counts asks them."""
    return frozenset(dir(nn.Module())) - _OWN_ANSWERS
