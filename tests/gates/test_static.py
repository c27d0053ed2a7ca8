"""The static gate is an allow-list: ways round it are refused, habits of those who write mixers are not."""

from __future__ import annotations

import warnings

import pytest
import torch

from asiarc.core.candidate import content_address, load_mixer
from asiarc.core.errors import CandidateError
from asiarc.engineer.gates.static import Static
from asiarc.engineer.gates.subject import Subject

MIXER = '''"""A running sum."""
import math
import torch
import torch.nn.functional as F
from torch import Tensor, nn
{top}


class Mixer(nn.Module):
{body}
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.value = nn.Linear(d_model, d_model)
{init}

    def forward(self, x, state=None):
        h = self.value(x).cumsum(1) + (0 if state is None else state)
{forward}
        return h, h[:, -1:]
'''


def source(top="", body="", init="", forward=""):
    def indented(text, by):
        return "\n".join(" " * by + line for line in text.strip("\n").splitlines())

    return MIXER.format(top=top, body=indented(body, 4), init=indented(init, 8), forward=indented(forward, 8))


def finding(text):
    return Static().check(Subject(text, 16, 2, 0))


FUNCTION = """
class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        ctx.w, ctx.seen = w, []
        return x @ w

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        {}
        return dy @ w.T, None
"""
FRAME = """
def caught():
    try:
        raise ValueError
    except ValueError as error:
        {}
"""
TABLE = 'TABLE = {"a": 1.0}\n'

CHEATS = {
    # attributes by another syntax
    "a frame by match": {"top": FRAME.format("match error:\n            case Exception(__traceback__=t): return t")},
    "a frame by own name": {"init": "self.tb_frame = 1", "top": FRAME.format("return error.tb_frame")},
    "globals by match": {"forward": "match self.forward:\n    case object(__globals__=g): h = h + len(g)"},
    "buffers by match": {"forward": "match self:\n    case nn.Module(_buffers=b): h = h + len(b)"},
    "match below a sequence": {"forward": "match (self, 1):\n    case [object(__dict__=d), _]: h = h + len(d)"},
    "a text spelled to unlock": {"forward": '"_exit"\nh = h._exit(0)'},
    "getattr of a starred pair": {"init": 'self.v = getattr(*[self, "value"])'},
    "hasattr of a starred pair": {"init": 'self.v = hasattr(*[self, "value"])'},
    "getattr with one argument": {"init": "self.v = hasattr(self)"},
    "getattr with keywords": {"init": 'self.v = getattr(self, "value", **kwargs)'},
    "getattr of a hook": {"init": "getattr(self, 'register_forward_pre_hook')(lambda m, i: None)"},
    "getattr of a joined dunder": {"init": 'self.d = getattr(self, "_" + "_dict_" + "_")'},
    "getattr of a looped name": {"init": 'for w in ("pre", "full"):\n    getattr(self, f"register_{w}_hook")'},
    "getattr of an argument": {"init": 'self.v = getattr(self, kwargs["name"])'},
    "getattr of a name bound twice": {
        "init": 'for w in ("value",):\n    getattr(self, w)\nw = kwargs["w"]\ngetattr(self, w)'
    },
    "getattr of a module": {"forward": 'h = h + getattr(math, "pi")'},
    "getattr handed on": {"top": "from functools import partial", "init": 'self.v = partial(getattr, self)("value")'},
    "getattr reduced": {"top": "from functools import reduce", "init": 'self.v = reduce(getattr, ("value",), self)'},
    "getattr mapped": {"init": 'self.v = list(map(getattr, [self], ["value"]))'},
    "getattr renamed": {"init": "g = getattr"},
    "getattr shadowed elsewhere": {"top": "def f(getattr): return getattr", "init": "self.g = f(getattr)"},
    "operator.attrgetter": {"top": "from operator import attrgetter"},
    "setattr of torch's": {"init": 'setattr(self, "parameters", lambda: [])'},
    "setattr on a class": {"init": 'setattr(Mixer, "calls", 1)'},
    "format string": {"init": 'self.n = len("{0.__class__}".format(self))'},
    "format string without dunders": {"init": 'self.n = len("{0.forward}".format(self))'},
    "unbound method of tensors": {"forward": "h = h + torch.Tensor.numpy(x).sum()"},
    "unbound hook": {"init": "nn.Module.register_forward_hook(self, lambda *a: None)"},
    "hook under a method's name": {
        "body": "def register_hook(self): pass",
        "init": "self.value.weight.register_hook()",
    },
    "full-width letters": {"forward": "h = h + x.ｎｕｍｐｙ().sum()"},
    "dunder of super": {"init": 'super().__setattr__("n", 1)'},
    "dunder of object": {"init": 'self.v = object.__getattribute__(self, "value")'},
    # modules as values
    "star import": {"top": "from torch.utils import *"},
    "module at the end of a path": {"forward": "library = nn.functional\nh = library.relu(h)"},
    "module by walrus": {"forward": "h = h * (t := torch).ones(1)"},
    "module in a loop": {"forward": "for t in (torch,):\n    h = h + t.zeros(1)"},
    "module as default": {"body": "def helper(self, t=torch): return t.zeros(1)"},
    "module returned": {"top": "def f(): return math"},
    "module as argument": {"top": "def f(m): return m.pi", "forward": "h = h * f(m=math)"},
    "module in a table": {"top": 'T = {"t": torch}'},
    "module of a module": {"forward": "h = h + F.math.pi"},
    "importlib through functional": {"forward": 'F.importlib.import_module("os")'},
    "module rebound": {"forward": "torch = h\nh = torch.sum()"},
    "two modules of one name": {"body": "def f(self):\n    import torch as math\n    return math.ones(1)"},
    "os of torch": {"top": "from torch import os"},
    "torch._C": {"forward": "torch._C._set_grad_enabled(False)"},
    "torch.hub": {"init": 'torch.hub.load("a", "b")'},
    "torch.ops": {"forward": "h = torch.ops.aten.relu(h)"},
    "torch.cuda": {"forward": "h = h * torch.cuda.is_available()"},
    "torch.backends": {"top": "import torch.backends"},
    "hooks of saved tensors": {"forward": "with torch.autograd.graph.saved_tensors_hooks(abs, abs): h = h + 1"},
    "hooks of all modules": {"init": "nn.modules.module.register_module_forward_hook(abs)"},
    "cpp extensions": {"top": "from torch.utils import cpp_extension"},
    "relative import": {"top": "from . import engineer"},
    "another room": {"top": "from asiarc.engineer import scoring"},
    "the package": {"top": "import asiarc", "forward": "h = h + asiarc.engineer.x"},
    "another room by a kernel": {"top": "import asiarc.kernels.gla", "forward": "asiarc.engineer.scoring"},
    "a kernel's torch": {"top": "import asiarc.kernels.gla as m", "forward": "h = m.torch.os"},
    "a kernel's internals": {"top": "from asiarc.kernels import contract"},
    "a kernel as a value": {"top": "from asiarc.kernels import gla", "forward": "h = gla(h, h, h)"},
    # what leaves torch, or changes it
    "numpy by einops": {"top": "from einops import asnumpy"},
    "dlpack": {"forward": "x.__dlpack__()"},
    "address of data": {"forward": "h = h + x.data_ptr() % 7"},
    "storage": {"forward": "h = h + x.untyped_storage().nbytes()"},
    "version counter": {"forward": "h = h * x._version"},
    "gradients of the step before": {"forward": "h = h + self.value.weight.grad.sum()"},
    "backward inside": {"forward": "h.sum().backward()"},
    "history": {"forward": "h = h + len(x.grad_fn.next_functions)"},
    "memory as laid out": {"forward": "h = torch.as_strided(h, h.shape, (0, 0, 0))"},
    "sparse": {"forward": "h = h.to_sparse().to_dense()"},
    "global seed": {"init": "torch.manual_seed(0)"},
    "global switch": {"init": "torch.set_grad_enabled(True)"},
    "global threads": {"init": "torch.set_num_threads(4)"},
    "loads": {"init": 'torch.load("w.pt")'},
    "maps a file": {"init": 'torch.from_file("w.bin")'},
    "compiles by a call": {"init": "self.f = torch.compile(self.value)"},
    "loads state": {"init": "self.load_state_dict({})"},
    "patches a method": {"init": "nn.Linear.forward = abs"},
    "patches tensors": {"init": "Tensor.relu = abs"},
    "own training": {"init": "self.training = False"},
    # names
    "print": {"forward": "print(h)"},
    "builtin import": {"forward": '__import__("os")'},
    "vars": {"forward": "h = h + len(vars(self))"},
    "a module's name": {"forward": "h = h * len(__name__)"},
    "exit": {"forward": "raise SystemExit"},
    "everything caught": {"forward": "try:\n    h = h + 1\nexcept BaseException:\n    pass"},
    "type of three": {"init": 'self.c = type("C", (), {})'},
    "type renamed": {"init": "t = type"},
    "type of stars": {"init": "self.c = type(*kwargs)"},
    "a name of nothing": {"forward": "h = h + undefined"},
    # chance: addresses
    "hash": {"init": "self.n = hash(nn.Module) % 7"},
    "hash shadowed elsewhere": {"top": "def f(hash): return hash", "init": "self.n = hash(self) % 7"},
    "id": {"init": "self.n = id(self) % 7"},
    "repr": {"init": "self.n = len(repr(self.forward))"},
    "str": {"init": "self.n = str(self.forward).count('a')"},
    "str mapped": {"init": "self.n = [*map(str, [self.forward])]"},
    "str from a tuple": {"init": "self.n = (str,)[0](self.forward)"},
    "f-string": {"init": 'self.n = f"{self.forward}".count("a")'},
    "f-string with a counter beside": {"init": 'for i in range(2):\n    self.n = f"{i}{self.forward}"'},
    "text filled in": {"init": 's = "%s"\nself.n = (s % self.forward).count("a")'},
    "text carried by an exception": {
        "top": "class Note(ValueError):\n    def __init__(self, text): self.text = text",
        "init": 'try:\n    raise Note(f"{self.forward}")\nexcept Note as e:\n    self.n = e.text.count("a")',
    },
    "text taken from an exception": {
        "init": 'try:\n    raise ValueError(f"{self.forward}")\nexcept ValueError as e:\n    self.n = e.args'
    },
    "text through a function in a message": {"forward": 'if state: raise ValueError(self.value(f"{self.forward}"))'},
    "text by extra_repr": {
        "body": 'def extra_repr(self):\n    return f"{self.forward}"',
        "init": "self.n = self.extra_repr().count('a')",
    },
    "order of a set that is filled": {"init": "memo = set()\nself.n = [*self.named_modules(memo)]"},
    "order of a set of names": {"init": "self.first = [*{'a', 'b'}][0]"},
    "order of a set": {"init": "self.first = [*{nn.Linear, nn.GELU}][0]"},
    "order of a made set": {"init": "self.first = [*set([nn.Linear, nn.GELU])][0]"},
    "order of a set comprehension": {"init": "self.first = [*{k for k in (nn.Linear, nn.GELU)}][0]"},
    # state outside the mixer
    "list of the class": {"body": "seen = []", "forward": "self.seen.append(1)"},
    "dict of the class": {"body": "seen: dict = {}"},
    "made by a call": {"top": "LAYER = nn.Linear(2, 2)"},
    "tensor of the module": {"top": "T = torch.zeros(3)"},
    "table stored to": {"top": TABLE, "forward": 'TABLE["a"] = 2.0'},
    "table updated": {"top": TABLE, "forward": "TABLE.update(b=1)"},
    "table set by default": {"top": TABLE, "forward": 'h = h * TABLE.setdefault("b", 1)'},
    "table joined": {"top": TABLE, "init": "global TABLE\nTABLE |= {}"},
    "table deleted from": {"top": TABLE, "forward": 'del TABLE["a"]'},
    "table renamed": {"top": TABLE, "forward": 't = TABLE\nt["a"] = 2'},
    "table kept": {"top": TABLE, "init": "self.table = TABLE"},
    "table in a tuple": {"top": TABLE + "BOTH = (TABLE, 1)"},
    "table of lists": {"top": 'TABLE = {"a": []}'},
    "table handed on": {"top": TABLE + "def f(t): t['b'] = 1", "init": "f(TABLE)"},
    "table as default": {"top": TABLE + "def f(t=TABLE): return t"},
    "frozen map of lists": {"top": 'from types import MappingProxyType\nM = MappingProxyType({"a": []})'},
    "count of the class": {"forward": "Mixer.calls = 1"},
    "count by a class method": {"body": "calls = 0\n@classmethod\ndef up(cls): cls.calls += 1"},
    "count on a function": {"top": "def f(): return 1\n", "forward": "f.calls = 1"},
    "count on the class of self": {"forward": "type(self).calls = 1"},
    "nonlocal": {"init": "n = 0\ndef up():\n    nonlocal n\n    n += 1"},
    "generator": {"body": "def steps(self):\n    yield 1"},
    "coroutine": {"body": "async def steps(self): return 1"},
    "cache of functools": {"top": "from functools import lru_cache"},
    "cache of functools by path": {"top": "import functools\n@functools.cache\ndef f(): return []"},
    "counter of itertools": {"top": "from itertools import count"},
    # code from text, and at import
    "make_dataclass": {"top": "from dataclasses import make_dataclass"},
    "get_type_hints": {"top": "from typing import get_type_hints"},
    "function type": {"top": "from types import FunctionType"},
    "a call at import": {"top": "math.sqrt(2)"},
    "a branch at import": {"top": 'if __name__ != "__main__":\n    X = 1'},
    "the other branch at import": {
        "top": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    X = 1\nelse:\n    X = 2"
    },
    "import in a class": {"body": "from math import sqrt as numel"},
    # classes that answer for torch
    "parameter of its own": {"top": "class Small(nn.Parameter):\n    def numel(self): return 1"},
    "parameter by another name": {"top": "P = nn.Parameter\nclass Small(P): pass"},
    "tensor of its own": {"top": "class Mine(torch.Tensor): pass"},
    "dict of its own": {"top": "class Mine(dict): pass"},
    "metaclass": {"top": "class Mine(nn.Module, metaclass=type): pass"},
    "torch function": {"body": "@classmethod\ndef __torch_function__(cls, *a): return 1"},
    "every attribute": {"body": "def __getattr__(self, name): return 1"},
    "equality": {"body": "def __eq__(self, other): return True"},
    "own train": {"body": "def train(self, mode=True): return self"},
    "own parameters": {"body": "def parameters(self, recurse=True): return iter(())"},
    "own state by a class name": {"body": "def mine(self): return {}\nstate_dict = mine"},
    "own call by a class name": {"body": "def mine(self, x): return x\n__call__ = mine"},
    "own train by walrus": {"body": "def mine(self, m=(train := abs)): return m"},
    "own buffers by an attribute": {"init": "self._buffers = {}"},
    "own parameters by an attribute": {"init": "self.named_parameters = lambda: []"},
    # a backward that keeps something
    "backward counts": {"top": FUNCTION.format("ctx.seen.append(1)")},
    "backward counts on ctx": {"top": FUNCTION.format("ctx.n = 1")},
    "backward trains": {"top": FUNCTION.format("ctx.w.sub_(1e-3 * dy.sum())")},
    "backward trains what was saved": {"top": FUNCTION.format("w -= 1e-3 * dy.sum()")},
    "backward trains a view": {"top": FUNCTION.format("w.view(-1)[0] = 1")},
    "backward trains a renamed view": {"top": FUNCTION.format("v = ctx.w.T\n        v.add_(1)")},
    "backward trains by out": {"top": FUNCTION.format("torch.add(x, 1, out=w)")},
    "backward trains by init": {"top": FUNCTION.format("nn.init.zeros_(ctx.w)")},
    # weights spelled out
    "bytes": {"top": 'W = b"abc"'},
    "a long integer": {"top": f"W = {2**64}"},
    "many numbers": {"top": f"W = {tuple(range(300))}"},
    "many numbers in a table": {"top": f"W = {list(range(300))}"},
    "many texts": {"top": f"W = {tuple('abcdefghij' * 10 for _ in range(50))}"},
    "a long text": {"top": f'W = "{"ab" * 150}"'},
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_way_round_is_refused_with_its_place_and_what_is_allowed(name):
    text = source(**CHEATS[name])
    found = finding(text)
    assert found is not None and found.verdict == "rejected", text
    line = text.splitlines()[found.example["line"] - 1]
    assert found.actual == line.strip()[:200] and found.expected
    assert f"line {found.example['line']}, column {found.example['column']}: " in found.reason


HONEST = {
    "typing": {
        "top": "from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union\n"
        "State = Optional[Tuple[Tensor, Tensor]]\n",
        "body": "def helper(self, a: Optional[Tensor] = None, b: 'Tensor | None' = None, c: Dict[str, Any] = {}) "
        "-> Tuple[Tensor, ...]:\n    return (a, b)",
    },
    "a dataclass": {
        "top": "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass Config:\n    width: int = 4\n"
        "    name: str = 'a'\n    rates: list = field(default_factory=list)\n",
        "init": "self.config = Config(width=d_model)\nself.width = self.config.width",
    },
    "a named tuple": {
        "top": "from typing import NamedTuple\nclass State(NamedTuple):\n    s: Tensor\n    count: int = 0\n",
        "forward": "kept = State(h)._replace(count=1)\nh = h + 0 * kept.s * kept.count",
    },
    "collections": {
        "top": "from collections import OrderedDict, defaultdict, namedtuple\nPair = namedtuple('Pair', 'left right')",
        "init": 'self.net = nn.Sequential(OrderedDict([("a", nn.Linear(d_model, d_model)), ("b", nn.SiLU())]))',
        "forward": "pair = Pair(h, h)\nh = pair.left + self.net(pair.right)",
    },
    "partial": {
        "top": "import functools\nfrom functools import partial\nACT = partial(F.gelu, approximate='tanh')",
        "forward": "h = ACT(h) + functools.reduce(torch.add, [h, h])",
    },
    "what is exported": {"top": '__all__ = ["Mixer"]'},
    "constants": {
        "top": "EPS: float = 1e-6\nLOG2 = math.log(2.0)\nSIZES = (1, 2, 4)\nSCALE = 1 / math.sqrt(2)\n"
        "INF = float('inf')\nNAMES = frozenset({'a', 'b'})\n"
        "POWERS = tuple(2**i for i in range(4))\nLOW = torch.finfo(torch.float32).min\n",
        "forward": "h = h * SIZES[0] + EPS * LOG2 * SCALE + len(POWERS)",
    },
    "a frozen map": {
        "top": 'from types import MappingProxyType\nACTS = MappingProxyType({"silu": F.silu, "relu": F.relu})',
        "forward": 'h = ACTS["silu"](h)',
    },
    "a table that is read": {
        "top": 'ACTS = {"silu": F.silu, "sq": lambda t: t.relu() ** 2}\nRATES = [0.5, 0.9]\n',
        "init": 'self.act = ACTS.get(kwargs.get("act", "sq"), F.gelu)\nself.n = len(RATES)',
        "forward": 'if "silu" in ACTS:\n    h = self.act(h)\nfor rate in RATES:\n    h = h * rate\n'
        "for name, act in ACTS.items():\n    h = h + 0 * act(h)\nh = h * sum(RATES) + torch.tensor([*RATES]).sum()",
    },
    "a kernel's module": {
        "top": "import asiarc.kernels.l2_norm as norms\nfrom asiarc.kernels import simple_gla",
        "forward": "h = norms.l2_norm(h)\nq = h[:, :, None]\ng = h[:, :, :1] * 0\n"
        "h = h + simple_gla.simple_gla(q, q, q, g)[0].flatten(2) * 0",
    },
    "texts of errors": {
        "init": 'if d_model % num_heads:\n    raise ValueError(f"{d_model=} is no multiple of {num_heads!r}")\n'
        'assert num_heads > 0, f"got {num_heads}"\nif num_heads > 99:\n    raise ValueError("%d heads" % num_heads)\n'
        'if d_model > 9999:\n    raise ValueError("{} is wide".format(d_model) + str(num_heads))'
    },
    "buffers by number": {
        "init": 'for i in range(2):\n    self.register_buffer(f"mask{i}", torch.ones(1))\n'
        '    setattr(self, f"layer{i}", nn.Linear(d_model, d_model))\n'
        'for name in ("q", "k"):\n    self.add_module(f"{name}_proj", nn.Linear(d_model, d_model))',
        "forward": 'for i in range(2):\n    h = h * getattr(self, f"mask{i}") + getattr(self, f"layer{i}")(h)\n'
        'h = h + self.q_proj(h)\nfor n, name in enumerate(("q", "k")):\n    h = h + getattr(self, name + "_proj")(h)',
    },
    "getattr with a default": {"forward": 'h = h * getattr(self, "scale", 1.0)', "init": "self.scale = 2.0"},
    "layers by name": {
        "init": 'self.layers = nn.ModuleDict({f"l{i}": nn.Linear(d_model, d_model) for i in range(2)})',
        "forward": "for name, layer in self.layers.items():\n    h = layer(h)",
    },
    "extra_repr": {"body": 'def extra_repr(self):\n    return f"heads={self.n}"', "init": "self.n = num_heads"},
    "initialised by apply": {
        "body": "def _init_weights(self, module):\n    if isinstance(module, (nn.Linear, nn.Embedding)):\n"
        "        nn.init.xavier_uniform_(module.weight, gain=0.5)\n        if module.bias is not None:\n"
        "            nn.init.zeros_(module.bias)",
        "init": "self.apply(self._init_weights)",
    },
    "weights set without gradient": {
        "init": "with torch.no_grad():\n    self.value.weight.mul_(0.5)\nself.value.bias.data.uniform_(-1, 1)\n"
        "self.A = nn.Parameter(torch.arange(1, 5).float().log())\nself.A._no_weight_decay = True",
        "forward": "h = h * self.A.sum()",
    },
    "random numbers of its own": {
        "init": 'g = torch.Generator().manual_seed(0)\nself.register_buffer("p", torch.randn(d_model, generator=g))',
        "forward": "h = h * self.p",
    },
    "properties and static methods": {
        "body": "@property\ndef size(self):\n    return 4\n\n@staticmethod\ndef mixed(a, b):\n    return a + b\n\n"
        "@classmethod\ndef made(cls, width):\n    return cls(width, 1)",
        "forward": "h = self.mixed(h, h) * self.size",
    },
    "a backward of its own": {
        "top": "from torch.autograd import Function\nfrom torch.autograd.function import once_differentiable\n"
        "class Scan(Function):\n    @staticmethod\n    def forward(ctx, a, b):\n        ctx.save_for_backward(a)\n"
        "        ctx.scale = 2.0\n        out = b.clone()\n        out[:, 1:] += a[:, 1:]\n        return out\n\n"
        "    @staticmethod\n    @once_differentiable\n    def backward(ctx, grad):\n        (a,) = ctx.saved_tensors\n"
        "        db = grad.clone()\n        da = torch.zeros_like(a)\n        if ctx.needs_input_grad[0]:\n"
        "            da[:, 1:] += grad[:, 1:]\n        total = grad * 0\n        total.add_(a, alpha=ctx.scale)\n"
        "        rest = []\n        rest.append(total)\n        return da + 0 * rest[0], db.mul_(1.0)\n",
        "forward": "h = Scan.apply(h, h)",
    },
    "types and devices of others": {
        "forward": "t = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)\n"
        "d = next(self.parameters()).dtype\nwith torch.autocast(device_type=x.device.type, enabled=False):\n"
        "    h = h.float() + 0 * t.to(d)[None, :, None]\n"
        "h = h.to(x.dtype).masked_fill(h.isnan(), torch.finfo(h.dtype).min)"
    },
    "match, walrus and try": {
        "forward": "match state:\n    case None:\n        n = 1\n    case Tensor():\n        n = 2\n"
        "if (length := x.shape[1]) > 1:\n    n = n + length\ntry:\n    n = n // 1\nexcept ZeroDivisionError:\n    n = 0"
    },
    "an argument called input": {
        "body": "def helper(self, input, max=3):\n    return input * max",
        "forward": "h = self.helper(h)",
    },
    "membership of a set": {"init": 'self.mode = kwargs.get("mode", "a")\nassert self.mode in {"a", "b"}'},
    "types under other names": {
        "top": "from typing import TypeVar\nfrom collections.abc import Callable\nT = TypeVar('T')\n"
        "TensorLike = torch.Tensor\nState = dict[str, TensorLike]\nAct = Callable[[TensorLike], TensorLike]",
        "body": "def kept(self, s: State) -> list[str]:\n    return [k for k in s if isinstance(k, str)]",
    },
    "layers derived from layers": {
        "top": "class Scaled(nn.Linear):\n    def __init__(self, n):\n        super(Scaled, self).__init__(n, n)\n"
        "        self.scale = nn.Parameter(torch.ones(n))\n\n    def forward(self, input):\n"
        "        return F.linear(input, self.weight, self.bias) * self.scale\n\n    def reset_parameters(self):\n"
        "        super().reset_parameters()\n",
        "init": "self.scaled = Scaled(d_model)",
        "forward": "h = self.scaled(h)",
    },
    "bits of a position": {"forward": "n = x.shape[1]\nh = h * bin(n).count('1') + n.bit_length()"},
    "names that torch has too": {
        "init": "self.half = d_model // 2\nself.names = ('a', 'b')\nself.size_per_head = self.half",
        "forward": "h = torch.cat((h[..., : self.half], h[..., self.half :]), -1)",
    },
    "checkpoints and vmap": {
        "top": "from torch.utils.checkpoint import checkpoint\nfrom torch.func import vmap",
        "forward": "h = checkpoint(self.value, h, use_reentrant=False) + vmap(torch.sin)(h)",
    },
    "linear algebra": {
        "forward": "a = torch.eye(4)\nh = h + torch.linalg.solve_triangular(a, a, upper=False).sum()\n"
        "u, s, v = torch.linalg.svd(a)\nq = torch.linalg.qr(a)\nh = h + (q.Q * s).sum()\n"
        "h = h + h.max(1, keepdim=True).values * 0"
    },
    "recurrent layers": {
        "init": "self.cell = nn.LSTM(d_model, d_model, batch_first=True)\nself.cell.bias_hh_l0.data.fill_(1.0)\n"
        "self.cell.flatten_parameters()",
        "forward": "h = self.cell(h)[0]",
    },
    "itertools": {
        "top": "from itertools import accumulate, pairwise",
        "init": "self.e = [*pairwise(accumulate([1, 2, 3]))]",
    },
    "an abstract helper": {
        "top": "class Gate(nn.Module):\n    def act(self, t):\n        raise NotImplementedError\n\n"
        "    def forward(self, t):\n        return self.act(t)\n\n\n"
        "class Soft(Gate):\n    def act(self, t):\n        return torch.sigmoid(t)\n",
        "init": "self.gate = Soft()",
        "forward": "h = self.gate(h)",
    },
}
DROPPED = {
    "a compiled function": {"top": "@torch.compile\ndef f(t):\n    return t + 1\n", "forward": "h = f(h)"},
    "a compiled function with options": {
        "top": "@torch.compile(dynamic=True, mode='max-autotune')\ndef f(t):\n    return t + 1\n",
        "forward": "h = f(h)",
    },
    "a scripted method": {"body": "@torch.jit.script\ndef f(t):\n    return t + 1\n"},
    "a script's end": {"top": 'if __name__ == "__main__":\n    import os\n    print(os.getcwd())\n'},
    "imports for types": {"top": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fla import Cache\n"},
}


@pytest.mark.parametrize("name", [*HONEST, *DROPPED])
def test_a_habit_is_admitted_and_runs(name):
    text = source(**{**HONEST, **DROPPED}[name])
    found = finding(text)
    assert found is None if name in HONEST else found.verdict == "warned", found
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        y, _ = load_mixer(text)(16, 2)(torch.randn(2, 4, 16))
        y.sum().backward()
    assert y.shape == (2, 4, 16)


def test_what_is_dropped_does_not_name_a_candidate():
    plain = source(top="def f(t):\n    return t + 1\n", forward="h = f(h)")
    assert content_address(plain) == content_address(source(**DROPPED["a compiled function"]))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("from asiarc.kernels import simple_glaa", "asiarc.kernels.simple_gla"),
        ("h = F.softmx(h, -1)", "torch.nn.functional.softmax"),
        ("h = h.cumsun(1)", "cumsum"),
        ("from asiarc.kernels import gla\nh = gla(h, h, h, h)", "from asiarc.kernels.gla import gla"),
    ],
)
def test_a_refusal_names_the_nearest_that_is_allowed(line, says):
    assert says in finding(source(forward=line)).expected


def test_a_tree_too_deep_to_be_read_is_refused_in_words():
    with pytest.raises(CandidateError, match="nested too deeply"):
        finding(source(init=f"self.n = {'+'.join(['1'] * 1500)}"))


def test_there_are_many_kinds():
    assert len(CHEATS) >= 40 and len(HONEST) + len(DROPPED) >= 25
