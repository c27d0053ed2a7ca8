"""The paths beside the memory, and the router that mixes them."""

from __future__ import annotations

from asiarc.core.genome import PRODUCT, STATISTICS, Genome
from asiarc.researcher.rules import write_window
from asiarc.researcher.sketch import Sketch, by_heads, call, function

IMPULSE = '''
def impulse(channels: int, taps: int) -> Tensor:
    """A filter that passes the present token on, plus a little noise: its path starts as the identity."""
    weight_DW = 0.02 * torch.randn(channels, taps)
    weight_DW[:, -1] += 1
    return weight_DW
'''

NEIGHBOURS = '''
def neighbours(channels: int, taps: int) -> Tensor:
    """`taps` filters a channel, of which the n-th passes the n-th token before on, plus a little noise."""
    passed_WW = torch.eye(taps).flip(1)
    return passed_WW.repeat_interleave(channels, dim=0) + 0.02 * torch.randn(taps * channels, taps)
'''


def reads_values(g: Genome) -> bool:
    """Whether anything but the memory reads the values of each token."""
    filters = (g.short_fir or g.long_fir) and g.local == "values"
    residual = g.residual == "skip" or (g.residual == "gated" and not g.short_fir)
    return bool(g.value_path or filters or "window" in g.paths() or residual)


def write_paths(g: Genome, sketch: Sketch) -> None:
    """What stands beside the memory."""
    if g.memory in PRODUCT and reads_values(g):
        sketch.forward.append("v_BTHV = v_BRHV[:, STEPS - 1 :: STEPS]")
    if g.short_fir or g.long_fir:
        write_filters(g, sketch)
    if "window" in g.paths():
        write_window_path(g, sketch)
    if g.product != "none":
        write_product(g, sketch)


def write_filters(g: Genome, sketch: Sketch) -> None:
    """Filtered copies of the values, or of a projection of their own."""
    sketch.help(IMPULSE)
    if g.local == "own":
        sketch.init.append("self.local = nn.Linear(d_model, d_model, bias=False)")
        sketch.forward.append("values_BTD = self.local(x_BTD)")
    else:
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


def write_window_path(g: Genome, sketch: Sketch) -> None:
    """Attention over the last tokens by queries and keys of its own, turned by position (arXiv 2004.05150)."""
    sketch.count_positions()
    sketch.help(function("retnet", "rotate"))
    sketch.init.append("self.near_qk = nn.Linear(d_model, 2 * d_model, bias=False)")
    sketch.forward += [
        'near_2BTHK = rearrange(self.near_qk(x_BTD), "b t (n h k) -> n b t h k", n=2, h=self.num_heads)',
        "near_q_BTHK, near_k_BTHK = (rotate(part, position_BT).type_as(v_BTHV) for part in near_2BTHK)",
    ]
    write_window(g, sketch, ("near_q_BTHK", "near_k_BTHK"), PATHS["window"], ("near_keys", "near_values"))


def write_product(g: Genome, sketch: Sketch) -> None:
    """c * conv(b * u) as in H3 and Hyena (arXiv 2212.14052, 2302.10866), or a product of three neighbours' features."""
    sketch.kernels.add("short_convolution")
    sketch.constants.append("FACTORS = 3")
    sketch.init.append("self.factors = nn.Linear(d_model, FACTORS * d_model, bias=False)")
    filtered = ["self.product_DW", 'initial_state=state.get("product")']
    if g.product == "gated":
        sketch.help(IMPULSE)
        sketch.init.append("self.product_DW = nn.Parameter(impulse(d_model, FACTORS))")
        sketch.forward += [
            "b_BTD, c_BTD, u_BTD = self.factors(x_BTD).chunk(FACTORS, dim=-1)",
            call("pairs_BTD, product_state", "short_convolution", ["b_BTD * u_BTD", *filtered]),
            f"product_BTHV = {by_heads('c_BTD * pairs_BTD')}",
        ]
    else:
        sketch.help(NEIGHBOURS)
        sketch.init.append("self.product_DW = nn.Parameter(neighbours(d_model, FACTORS))")
        sketch.forward += [
            call("factors_BTC, product_state", "short_convolution", ["self.factors(x_BTD)", *filtered]),
            "u_BTD, v_BTD, w_BTD = factors_BTC.chunk(FACTORS, dim=-1)",
            f"product_BTHV = {by_heads('u_BTD * v_BTD * w_BTD')}",
        ]
    sketch.state["product"] = "product_state"


# --- the router -------------------------------------------------------------------------------------------------------

PATHS = {
    "memory": "recalled_BTHV",
    "short": "short_BTHV",
    "long": "long_BTHV",
    "value": "v_BTHV",
    "slow": "slow_BTHV",
    "window": "near_BTHV",
    "product": "product_BTHV",
}
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
    sketch.axis("P", "paths")
    sketch.forward.append(call("paths_BTHPV", "torch.stack", [f"({', '.join(names)})", "dim=-2"]))
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
        sketch.axis("N", "router inputs")
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
