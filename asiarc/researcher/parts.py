"""The parts of a candidate's source: each writes its share of `__init__`, of `forward` and of the state.

A part appends statements to the sketch and looks at nothing that another wrote but the names of queries and
keys; the order of the parts is the order of the statements. Lines come out as a formatter would lay them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from asiarc.core.genome import DELTA, GATED, PER_CHANNEL, PRODUCT, STATISTICS, Genome

WIDTH = 110

KERNELS = {
    "additive": "linear_attention",
    "retention": "retention",
    "ssd": "simple_gla",
    "gla": "gla",
    "delta": "delta_rule",
    "gated_delta": "gated_delta_rule",
    "kda": "kda",
    "delta_product": "delta_product",
    "gated_delta_product": "delta_product",
}

RECURRENCES = {
    "additive": "S_t = S_{t-1} + k_t v_t^T",
    "retention": "S_t = gamma_h S_{t-1} + k_t v_t^T",
    "ssd": "S_t = alpha_t S_{t-1} + k_t v_t^T",
    "gla": "S_t = diag(alpha_t) S_{t-1} + k_t v_t^T",
    "delta": "S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T",
    "gated_delta": "S_t = alpha_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T",
    "kda": "S_t = (I - beta_t k_t k_t^T) diag(alpha_t) S_{t-1} + beta_t k_t v_t^T",
    "delta_product": "S <- (I - beta_r k_r k_r^T) S + beta_r k_r v_r^T for each row r of a token",
    "gated_delta_product": "S <- alpha_t S, then (I - beta_r k_r k_r^T) S + beta_r k_r v_r^T for each row r",
}

ROTATE = '''
def rotate(x_BTHK: Tensor, position_BT: Tensor) -> Tensor:
    """Turn the pairs (i, i + K / 2) by the angle position * 10000^(-2 i / K) (arXiv 2104.09864, eq. 34)."""
    half = x_BTHK.shape[-1] // 2
    rate_F = 10_000.0 ** -(torch.arange(half, device=x_BTHK.device, dtype=torch.float64) / half)
    angle_BT1F = position_BT[..., None, None] * rate_F
    cos, sin = angle_BT1F.cos().to(x_BTHK.dtype), angle_BT1F.sin().to(x_BTHK.dtype)
    first, second = x_BTHK.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
'''

IMPULSE = '''
def impulse(channels: int, taps: int) -> Tensor:
    """A filter that passes the present token on, plus a little noise: its path starts as the identity."""
    weight_DW = 0.02 * torch.randn(channels, taps)
    weight_DW[:, -1] += 1
    return weight_DW
'''


@dataclass
class Sketch:
    """The parts of a source while it is being written; `q` and `k` are what queries and keys are called."""

    kernels: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)  # of torch.nn.functional
    constants: list[str] = field(default_factory=list)
    helpers: list[str] = field(default_factory=list)
    init: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    q: str = "q_BTHK"
    k: str = "k_BTHK"

    def heads(self, function: str, call: str = "{}") -> None:
        """Apply one function to queries and keys."""
        applied = ", ".join(call.format(f"{function}({name})") for name in (self.q, self.k))
        self.forward.append(f"{self.q}, {self.k} = {applied}")


def low_rank(target: str, rank: str) -> str:
    """A projection from the width to itself through `rank` channels."""
    layers = [f"nn.Linear(d_model, {rank}, bias=False)", f"nn.Linear({rank}, d_model, bias=False)"]
    return call(target, "nn.Sequential", layers)


def call(target: str, function: str, arguments: Sequence[str], indent: int = 8) -> str:
    """An assignment of a call, on one line, on three, or one argument a line, as a formatter lays it out."""
    one = f"{target} = {function}({', '.join(arguments)})"
    if indent + len(one) <= WIDTH:
        return one
    inner = ", ".join(arguments)
    if indent + 4 + len(inner) <= WIDTH:
        return f"{target} = {function}(\n    {inner}\n)"
    return f"{target} = {function}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def write_projections(g: Genome, sketch: Sketch) -> None:
    """Queries, keys and values, through the short convolution where there is one."""
    channels = "3 * d_model"
    if g.shared_keys:
        channels = "d_model + 2 * self.head_dim"
        sketch.init.append("self.head_dim = head_dim")
    if g.memory in PRODUCT:
        channels = "(1 + 2 * STEPS) * d_model"
        sketch.constants.append(f"STEPS = {g.steps}")
    if g.convolution:
        sketch.init.append(f"channels = {channels}")
        channels = "channels"
    sketch.init.append(f"self.qkv = nn.Linear(d_model, {channels}, bias=False)")
    mixed = "self.qkv(x_BTD)"
    if g.convolution:
        sketch.constants.append(f"TAPS = {g.convolution}")
        sketch.kernels.add("short_convolution")
        bound = "uniform_(-(TAPS**-0.5), TAPS**-0.5)"
        sketch.init.append(f"self.conv_CW = nn.Parameter(torch.empty(channels, TAPS).{bound})")
        arguments = [mixed, "self.conv_CW", 'initial_state=state.get("conv")']
        if g.features == "silu":
            arguments.insert(2, 'activation="silu"')
        sketch.forward.append(call("qkv_BTC, conv_state", "short_convolution", arguments))
        sketch.state["conv"] = "conv_state"
        mixed = "qkv_BTC"
    write_split(g, sketch, mixed)


def write_split(g: Genome, sketch: Sketch, mixed: str) -> None:
    """Cut the projection into queries, keys and values, by heads."""
    if g.shared_keys:
        sketch.q, sketch.k = "q_BT1K", "k_BT1K"
        sizes = "(self.head_dim, self.head_dim, x_BTD.shape[-1])"
        sketch.forward += [
            f"q_BTK, k_BTK, v_BTD = {mixed}.split({sizes}, dim=-1)",
            "q_BT1K, k_BT1K = q_BTK[:, :, None], k_BTK[:, :, None]",
            'v_BTHV = rearrange(v_BTD, "b t (h v) -> b t h v", h=self.num_heads)',
        ]
    elif g.memory in PRODUCT:
        sketch.k = "k_BRHK"
        sizes = "(1, STEPS, STEPS)"
        sketch.forward += [
            call(
                "parts_BTNHK", "rearrange", [mixed, '"b t (n h k) -> b t n h k"', "n=1 + 2 * STEPS", "h=self.num_heads"]
            ),
            f"q_BT1HK, k_BTNHK, v_BTNHV = parts_BTNHK.split({sizes}, dim=2)",
            "q_BTHK, k_BRHK, v_BRHV = (part.flatten(1, 2) for part in (q_BT1HK, k_BTNHK, v_BTNHV))",
        ]
    else:
        sketch.forward += [
            call("qkv_3BTHK", "rearrange", [mixed, '"b t (n h k) -> n b t h k"', "n=3", "h=self.num_heads"]),
            "q_BTHK, k_BTHK, v_BTHV = qkv_3BTHK.unbind()",
        ]


def write_features(g: Genome, sketch: Sketch) -> None:
    """The feature map and the norm of queries and keys, and their rotation."""
    values = "v_BRHV" if g.memory in PRODUCT else "v_BTHV"
    if g.features in ("silu", "relu") and not (g.convolution and g.features == "silu"):
        sketch.functions.add(g.features)
        sketch.heads(g.features)
    elif g.features == "elu1":
        sketch.functions.add("elu")
        sketch.heads("elu", "{} + 1")
    elif g.features == "softmax":
        for name in (sketch.q, sketch.k):
            sketch.forward.append(f"{name} = torch.softmax({name}, dim=-1).type_as({values})")
    if g.convolution and g.features != "silu":
        sketch.functions.add("silu")
        sketch.forward.append(f"{values} = silu({values})")
    if g.key_norm == "l2":
        sketch.kernels.add("l2_norm")
        sketch.heads("l2_norm")
    elif g.key_norm == "l1":
        sketch.functions.add("normalize")
        for name in (sketch.q, sketch.k):
            sketch.forward.append(f"{name} = normalize({name}, p=1, dim=-1).type_as({values})")
    if g.rotary:
        write_rotation(g, sketch)


def write_rotation(g: Genome, sketch: Sketch) -> None:
    """Turn queries and keys by the token's position, which the state counts."""
    sketch.helpers.append(ROTATE)
    sketch.forward[:0] = [
        'state = state or {"position": x_BTD.new_zeros(x_BTD.shape[0], dtype=torch.long)}',
        'position_BT = state["position"][:, None] + torch.arange(x_BTD.shape[1], device=x_BTD.device)',
    ]
    rows = "position_BT.repeat_interleave(STEPS, dim=1)" if g.memory in PRODUCT else "position_BT"
    sketch.forward += [f"{sketch.q} = rotate({sketch.q}, position_BT)", f"{sketch.k} = rotate({sketch.k}, {rows})"]
    sketch.state["position"] = "position_BT[:, -1] + 1"


def write_decay(g: Genome, sketch: Sketch) -> str:
    """The logarithm of the decay that the token chooses; returns its name."""
    axes = "D" if g.memory in PER_CHANNEL else "H"
    width = "d_model" if axes == "D" else "num_heads"
    name, rank = ("step", "head_dim") if g.decay == "step" else ("decay", "RANK")
    plain = f"self.{name} = nn.Linear(d_model, {width}, bias=False)"
    sketch.init.append(low_rank(f"self.{name}", rank) if axes == "D" else plain)
    split = 'rearrange({}, "b t (h k) -> b t h k", h=self.num_heads)'
    result = "log_decay_BTHK" if axes == "D" else "log_decay_BTH"
    if g.decay == "sigmoid":
        sketch.functions.add("logsigmoid")
        sketch.constants += ["RANK = 16"] * (axes == "D") + ["TEMPERATURE = 16.0"]
        sketch.init.append(f"self.decay_bias_{axes} = nn.Parameter(torch.zeros({width}))")
        value = f"logsigmoid(self.decay(x_BTD) + self.decay_bias_{axes}) / TEMPERATURE"
        sketch.forward.append(f"log_decay_BT{axes} = {value}")
        if axes == "D":
            sketch.forward.append(f"{result} = {split.format('log_decay_BTD')}")
        return result
    sketch.functions.add("softplus")
    rate, size = ("log_rate_H1", "num_heads, 1") if axes == "D" else ("log_rate_H", "num_heads")
    first = f"torch.empty({width}).uniform_(math.log(1e-3), math.log(0.05))"
    sketch.init += [
        f"first_step_{axes} = torch.exp({first})",
        f"self.step_bias_{axes} = nn.Parameter(first_step_{axes}.expm1().log())",
        f"self.{rate} = nn.Parameter(torch.empty({size}).uniform_(1, 4).log())",
    ]
    sketch.forward.append(f"step_BT{axes} = softplus(self.step(x_BTD) + self.step_bias_{axes})")
    if axes == "D":
        sketch.forward.append(f"step_BTHK = {split.format('step_BTD')}")
    sketch.forward.append(f"{result} = -self.{rate}.exp() * step_BT{'HK' if axes == 'D' else 'H'}")
    return result


def read_scale(g: Genome, query: str) -> str:
    """The factor on what is read, so that a matching key returns its value at about full size; empty is 1 / sqrt(K).

    It matters where the memory is one of several paths; before a norm a head it cancels.
    """
    if g.key_norm == "l1" or g.features == "softmax":
        return f"{query}.shape[-1]"
    return "1.0" if g.key_norm == "l2" or g.coupled_input else ""


def write_memory(g: Genome, sketch: Sketch) -> None:
    """The memory update, read by the query."""
    kernel = KERNELS[g.memory]
    sketch.kernels.add(kernel)
    values = "v_BRHV" if g.memory in PRODUCT else "v_BTHV"
    arguments = [sketch.q, sketch.k, values]
    if g.memory in DELTA:
        beta, outputs, pattern = "beta_BTH", "num_heads", "self.beta(x_BTD)"
        if g.memory in PRODUCT:
            beta, outputs = "beta_BRH", "STEPS * num_heads"
            pattern = 'rearrange(self.beta(x_BTD), "b t (n h) -> b (t n) h", n=STEPS)'
        sketch.init.append(f"self.beta = nn.Linear(d_model, {outputs}, bias=False)")
        factor = "2 * " if g.negative_eigenvalues else ""
        sketch.forward.append(f"{beta} = {factor}torch.sigmoid({pattern})")
    if g.memory in GATED:
        decay = write_decay(g, sketch)
        arguments.append(f"g={decay}" if g.memory in PRODUCT else decay)
    if g.coupled_input:
        sketch.forward.append("written_BTHV = (v_BTHV * step_BTH[..., None]).type_as(v_BTHV)")
        arguments[2] = "written_BTHV"
    if g.memory in DELTA:
        arguments.insert(3 if g.memory in PRODUCT else len(arguments), beta)
    if scale := read_scale(g, sketch.q):
        arguments.append(f"scale={scale}")
    arguments.append('initial_state=state.get("memory")')
    result = "o_BTHV" if len(g.paths()) == 1 else "recalled_BTHV"
    sketch.forward.append(call(f"{result}, memory_BHKV", kernel, arguments))
    sketch.state["memory"] = "memory_BHKV"


def write_paths(g: Genome, sketch: Sketch) -> None:
    """The filtered copies of the values."""
    if g.memory in PRODUCT and (len(g.paths()) > 1 or g.residual != "none"):
        sketch.forward.append("v_BTHV = v_BRHV[:, STEPS - 1 :: STEPS]")
    if g.short_fir or g.long_fir:
        sketch.helpers.append(IMPULSE)
        sketch.forward.append('values_BTD = rearrange(v_BTHV, "b t h v -> b t (h v)")')
    for name, taps, kernel in (("short", g.short_fir, "short_convolution"), ("long", g.long_fir, "fir")):
        if not taps:
            continue
        sketch.kernels.add(kernel)
        sketch.constants.append(f"{name.upper()}_TAPS = {taps}")
        sketch.init.append(f"self.{name}_DW = nn.Parameter(impulse(d_model, {name.upper()}_TAPS))")
        arguments = ["values_BTD", f"self.{name}_DW", f'initial_state=state.get("{name}")']
        sketch.forward += [
            call(f"{name}_BTD, {name}_state", kernel, arguments),
            f'{name}_BTHV = rearrange({name}_BTD, "b t (h v) -> b t h v", h=self.num_heads)',
        ]
        sketch.state[name] = f"{name}_state"


PATHS = {"memory": "recalled_BTHV", "short": "short_BTHV", "long": "long_BTHV", "value": "v_BTHV"}
MEASURES = {
    "mean": "paths_BTHPV.mean(-1)",
    "std": "(paths_BTHPV.var(-1, correction=0) + 1e-6).sqrt()",
    "abs_mean": "paths_BTHPV.abs().mean(-1)",
    "l2": "(paths_BTHPV.square().sum(-1) + 1e-6).sqrt()",
}


def write_router(g: Genome, sketch: Sketch) -> None:
    """The weights of the paths, and their sum."""
    names = [PATHS[path] for path in g.paths()]
    if g.router == "none":
        return
    if g.router == "sum":
        sketch.forward.append(f"o_BTHV = {' + '.join(names)}")
        return
    sketch.forward.append(f"paths_BTHPV = torch.stack(({', '.join(names)}), dim=-2)")
    write_logits(g, sketch)
    if g.router == "hierarchical":
        sketch.forward += [
            "first_BTH1 = torch.sigmoid(logits_BTHP[..., :1])",
            "rest_BTHP = (1 - first_BTH1) * torch.softmax(logits_BTHP[..., 1:], dim=-1)",
            "weights_BTHP = torch.cat((first_BTH1, rest_BTHP), dim=-1)",
        ]
    else:
        squash = "torch.softmax(logits_BTHP, dim=-1)" if g.router == "softmax" else "torch.sigmoid(logits_BTHP)"
        sketch.forward.append(f"weights_BTHP = {squash}")
    if g.floor != "none":
        write_floor(g, sketch, len(names))
    sketch.forward.append("o_BTHV = (weights_BTHP[..., None] * paths_BTHPV).sum(dim=-2)")


def write_logits(g: Genome, sketch: Sketch) -> None:
    """What the router sees, and its logits."""
    paths, measures = len(g.paths()), STATISTICS[g.statistics]
    seen, inputs, outputs = "x_BTD", "d_model", f"{paths} * num_heads"
    if measures:
        inputs = f"d_model + {paths * len(measures)} * num_heads"
        sketch.forward += [f"{name}_BTN = {MEASURES[name]}.flatten(2)" for name in measures]
        inside = ", ".join(["x_BTD", *(f"{name}_BTN" for name in measures)])
        sketch.forward.append(f"seen_BTN = torch.cat(({inside}), dim=-1)")
        seen = "seen_BTN"
    if g.router_depth == "mlp":
        sketch.init += [
            call(
                "self.router",
                "nn.Sequential",
                [
                    f"nn.Linear({inputs}, d_model // 2, bias=False)",
                    "nn.SiLU()",
                    f"nn.Linear(d_model // 2, {outputs}, bias=False)",
                ],
            )
        ]
    else:
        sketch.init.append(f"self.router = nn.Linear({inputs}, {outputs}, bias=False)")
    sketch.init.append(f"self.router_bias_HP = nn.Parameter(torch.zeros(num_heads, {paths}))")
    if g.lean != "even":
        sketch.init.append(f"nn.init.constant_(self.router_bias_HP[:, {g.paths().index(g.lean)}], 2.0)")
    split = f'rearrange(self.router({seen}), "b t (h p) -> b t h p", h=self.num_heads)'
    sketch.forward += [f"logits_BTHP = {split}", "logits_BTHP = logits_BTHP + self.router_bias_HP"]
    if g.temperature == "sharp":
        sketch.constants.append("SHARPNESS = 2.0")
        sketch.forward.append("logits_BTHP = SHARPNESS * logits_BTHP")
    elif g.temperature == "learnable":
        sketch.init.append("self.log_temperature_H1 = nn.Parameter(torch.zeros(num_heads, 1))")
        sketch.forward.append("logits_BTHP = logits_BTHP / self.log_temperature_H1.exp()")


def write_floor(g: Genome, sketch: Sketch, paths: int) -> None:
    """Keep every path's weight above a floor, so that none is switched off for good."""
    shared = g.router != "sigmoid"  # weights that sum to one share what is left above the floors
    if g.floor == "fixed":
        sketch.constants.append("FLOOR = 0.02")
        left = f"(1 - {paths} * FLOOR)" if shared else "(1 - FLOOR)"
        sketch.forward.append(f"weights_BTHP = FLOOR + {left} * weights_BTHP")
        return
    sketch.constants.append(f"LARGEST_FLOOR = {round(0.4 / paths, 3)}")
    sketch.init.append(f"self.floor_HP = nn.Parameter(torch.full((num_heads, {paths}), -1.0))")
    left = "(1 - floor_HP.sum(-1, keepdim=True))" if shared else "(1 - floor_HP)"
    sketch.forward += [
        "floor_HP = LARGEST_FLOOR * torch.sigmoid(self.floor_HP)",
        f"weights_BTHP = floor_HP + {left} * weights_BTHP",
    ]


def write_residual(g: Genome, sketch: Sketch) -> None:
    """What is added past the router."""
    if g.residual == "skip":
        sketch.init.append("self.skip_H1 = nn.Parameter(torch.ones(num_heads, 1))")
        sketch.forward.append("o_BTHV = o_BTHV + self.skip_H1 * v_BTHV")
    elif g.residual == "gated":
        sketch.init += [
            "self.residual = nn.Linear(d_model, num_heads, bias=False)",
            "self.residual_bias_H = nn.Parameter(torch.full((num_heads,), -1.0))",
            "self.residual_scale_H = nn.Parameter(torch.full((num_heads,), -1.0))",
        ]
        source = "short_BTHV" if g.short_fir else "v_BTHV"
        sketch.forward += [
            "residual_BTH = torch.sigmoid(self.residual(x_BTD) + self.residual_bias_H)",
            "residual_BTH = torch.sigmoid(self.residual_scale_H) * residual_BTH",
            f"o_BTHV = o_BTHV + residual_BTH[..., None] * {source}",
        ]


def write_output(g: Genome, sketch: Sketch) -> None:
    """The norm a head, the output gate after it, and the output projection."""
    if g.output_gate in ("silu", "sigmoid"):
        full = "self.gate = nn.Linear(d_model, d_model, bias=False)"
        sketch.init.append(full if g.gate_rank == "full" else low_rank("self.gate", "head_dim"))
        split = 'rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)'
        sketch.forward.append(f"gate_BTHV = {split}")
    elif g.output_gate == "head":
        sketch.init.append("self.gate = nn.Linear(d_model, num_heads, bias=False)")
        sketch.forward.append("gate_BTH1 = 2 * torch.sigmoid(self.gate(x_BTD))[..., None]")
    fused = g.norm == "rms" and g.output_gate == "silu"
    if fused:
        sketch.kernels.add("gated_rms_norm")
        sketch.init.append("self.norm_weight_V = nn.Parameter(torch.ones(head_dim))")
        sketch.forward.append("o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)")
    elif g.norm == "rms":
        sketch.init.append("self.norm = nn.RMSNorm(head_dim, eps=1e-6)")
        sketch.forward.append("o_BTHV = self.norm(o_BTHV)")
    gates = {"silu": "silu(gate_BTHV)", "sigmoid": "torch.sigmoid(gate_BTHV)", "head": "gate_BTH1"}
    if g.output_gate != "none" and not fused:
        sketch.functions |= {"silu"} & {g.output_gate}
        sketch.forward.append(f"o_BTHV = o_BTHV * {gates[g.output_gate]}")
    sketch.init.append("self.out = nn.Linear(d_model, d_model, bias=False)")
    sketch.forward.append('y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))')


PARTS = (write_projections, write_features, write_memory, write_paths, write_router, write_residual, write_output)
