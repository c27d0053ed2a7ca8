"""The parts of a candidate's source: each writes its share of `__init__`, of `forward` and of the state.

A part appends statements to the sketch and looks at nothing that another wrote but the names of queries and
keys; the order of the parts is the order of the statements. Lines come out as a formatter would lay them.
Memories and paths have files of their own (`memories.py`, `paths.py`).
"""

from __future__ import annotations

from asiarc.core.genome import PRODUCT, Genome
from asiarc.researcher.chosen import values
from asiarc.researcher.memories import write_memory
from asiarc.researcher.paths import write_paths, write_router
from asiarc.researcher.rules import write_feedback, write_tied_keys
from asiarc.researcher.sketch import SHIFTED, Sketch, by_heads, call, function, low_rank


def write_projections(g: Genome, sketch: Sketch) -> None:
    """Queries, keys and values, through the short convolution where there is one."""
    channels, keys = "3 * d_model", "2 * d_model"
    if g.shared_keys:
        channels, keys = "d_model + 2 * self.head_dim", "2 * self.head_dim"
        sketch.init.append("self.head_dim = head_dim")
    if g.memory in PRODUCT:
        channels, keys = "(1 + 2 * STEPS) * d_model", "(1 + STEPS) * d_model"
        sketch.constants.append(f"STEPS = {g.steps}")
    inputs = write_shift(sketch) if g.shift else "x_BTD"
    if g.convolution and g.convolved != "all":
        write_split(g, sketch, write_partly_convolved(g, sketch, inputs, channels, keys))
        return
    if g.convolution:
        sketch.init.append(f"channels = {channels}")
        channels = "channels"
    sketch.init.append(f"self.qkv = nn.Linear(d_model, {channels}, bias=False)")
    mixed = f"self.qkv({inputs})"
    if g.convolution:
        write_convolution(g, sketch, "qkv_BTC", mixed, channels, silu=has_silu(g))
        mixed = "qkv_BTC"
    write_split(g, sketch, mixed)


def write_shift(sketch: Sketch) -> str:
    """The token mixed with the one before (arXiv 2305.13048); returns its name."""
    sketch.help(SHIFTED)
    sketch.init.append("self.mix_D = nn.Parameter(torch.full((d_model,), 0.5))")
    sketch.forward.append('mixed_BTD = x_BTD + (shifted(x_BTD, state.get("token")) - x_BTD) * self.mix_D')
    sketch.state["token"] = "x_BTD[:, -1]"
    return "mixed_BTD"


def write_convolution(g: Genome, sketch: Sketch, target: str, inputs: str, channels: str, *, silu: bool) -> None:
    """The causal depthwise convolution of so many channels."""
    sketch.constants.append(f"TAPS = {g.convolution}")
    sketch.kernels.add("short_convolution")
    bound = "uniform_(-(TAPS**-0.5), TAPS**-0.5)"
    sketch.init.append(f"self.conv_CW = nn.Parameter(torch.empty({channels}, TAPS).{bound})")
    arguments = [inputs, "self.conv_CW", 'initial_state=state.get("conv")']
    if silu:
        arguments.insert(2, 'activation="silu"')
    sketch.forward.append(call(f"{target}, conv_state", "short_convolution", arguments))
    sketch.state["conv"] = "conv_state"


def write_partly_convolved(g: Genome, sketch: Sketch, inputs: str, channels: str, keys: str) -> str:
    """Queries and keys convolved, or projected from what is convolved, and values that are not; returns their name."""
    sketch.init += [
        f"keys = {keys}",
        "self.qk = nn.Linear(d_model, keys, bias=False)",
        f"self.v = nn.Linear(d_model, {channels} - keys, bias=False)",
    ]
    if g.convolved == "keys":
        write_convolution(g, sketch, "qk_BTC", f"self.qk({inputs})", "keys", silu=has_silu(g))
        sketch.forward.append(f"qkv_BTC = torch.cat((qk_BTC, self.v({inputs})), dim=-1)")
    else:
        write_convolution(g, sketch, "near_BTD", inputs, "d_model", silu=True)
        sketch.forward.append(f"qkv_BTC = torch.cat((self.qk(near_BTD), self.v({inputs})), dim=-1)")
    return "qkv_BTC"


def write_split(g: Genome, sketch: Sketch, mixed: str) -> None:
    """Cut the projection into queries, keys and values, by heads."""
    if g.shared_keys:
        sketch.q, sketch.k = "q_BT1K", "k_BT1K"
        sizes = "(self.head_dim, self.head_dim, x_BTD.shape[-1])"
        sketch.forward += [
            call("q_BTK, k_BTK, v_BTD", f"{mixed}.split", [sizes, "dim=-1"]),
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
    sketch.tied = g.memory == "hgrn2"
    write_feature_map(g, sketch)
    if g.convolution and g.convolved == "all" and not has_silu(g):
        sketch.functions.add("silu")
        sketch.forward.append(f"{values(g)} = silu({values(g)})")
    if g.memory in ("comba", "momentum_delta"):
        write_feedback(g, sketch)
    elif sketch.tied:
        write_tied_keys(sketch)
    if g.key_norm == "l2":
        sketch.kernels.add("l2_norm")
        sketch.heads("l2_norm")
    elif g.key_norm == "l1":
        sketch.functions.add("normalize")
        for name in (sketch.q, sketch.k):
            sketch.forward.append(f"{name} = normalize({name}, p=1, dim=-1).type_as({values(g)})")
    elif g.key_norm == "rms":
        write_biased_norm(sketch)
    if g.rotary:
        write_rotation(g, sketch)


def write_feature_map(g: Genome, sketch: Sketch) -> None:
    """The feature map of queries and keys, where the convolution did not apply it."""
    if g.features in ("silu", "relu") and not has_silu(g):
        sketch.functions.add(g.features)
        sketch.heads(g.features)
    elif g.features == "elu1":
        sketch.functions.add("elu")
        sketch.heads("elu", "{} + 1")
    elif g.features == "softmax":
        for name in sketch.features():
            sketch.forward.append(f"{name} = torch.softmax({name}, dim=-1).type_as({values(g)})")


def has_silu(g: Genome) -> bool:
    """Whether queries and keys come out of the convolution with SiLU applied; a forget gate needs both signs."""
    return bool(g.convolution) and g.features == "silu" and g.convolved != "inputs" and g.memory != "hgrn2"


def write_biased_norm(sketch: Sketch) -> None:
    """An RMSNorm a head and a bias a channel on queries and keys (arXiv 2603.15569)."""
    for part in ("q", "k"):
        name = getattr(sketch, part)
        sketch.init += [
            f"self.{part}_norm = nn.RMSNorm(head_dim, eps=1e-5)",
            f"self.{part}_bias_HK = nn.Parameter(torch.ones(num_heads, head_dim))",
        ]
        normed = name.replace("1K", "HK")
        sketch.forward.append(f"{normed} = (self.{part}_norm({name}) + self.{part}_bias_HK).type_as({name})")
        setattr(sketch, part, normed)


def write_rotation(g: Genome, sketch: Sketch) -> None:
    """Turn queries and keys by the token's position, which the state counts."""
    sketch.help(function("retnet", "rotate"))
    sketch.count_positions()
    rows = "position_BT.repeat_interleave(STEPS, dim=1)" if g.memory in PRODUCT else "position_BT"
    sketch.forward += [f"{sketch.q} = rotate({sketch.q}, position_BT)", f"{sketch.k} = rotate({sketch.k}, {rows})"]


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


def write_input_skip(g: Genome, sketch: Sketch) -> None:
    """The layer's input past the norm, convolved where that is what is projected (arXiv 2405.04517, fig. 10)."""
    inputs = "near_BTD" if g.convolution and g.convolved == "inputs" else "x_BTD"
    sketch.init.append("self.skip_D = nn.Parameter(torch.ones(d_model))")
    sketch.forward.append(f"o_BTHV = o_BTHV + {by_heads(f'self.skip_D * {inputs}')}")


def write_output(g: Genome, sketch: Sketch) -> None:
    """The norm a head, the output gate after it, and the output projection."""
    if g.output_gate in ("silu", "sigmoid"):
        full = "self.gate = nn.Linear(d_model, d_model, bias=False)"
        rank = low_rank("self.gate", "head_dim", bias=g.gate_rank == "biased")
        sketch.init.append(full if g.gate_rank == "full" else rank)
        split = 'rearrange(self.gate(x_BTD), "b t (h v) -> b t h v", h=self.num_heads)'
        sketch.forward.append(f"gate_BTHV = {split}")
    elif g.output_gate == "head":
        sketch.init.append("self.gate = nn.Linear(d_model, num_heads, bias=False)")
        sketch.forward.append("gate_BTH1 = 2 * torch.sigmoid(self.gate(x_BTD))[..., None]")
    fused = g.norm == "rms" and g.output_gate == "silu" and g.residual != "input"
    if fused:
        sketch.kernels.add("gated_rms_norm")
        sketch.init.append("self.norm_weight_V = nn.Parameter(torch.ones(head_dim))")
        sketch.forward.append("o_BTHV = gated_rms_norm(o_BTHV, gate_BTHV, self.norm_weight_V)")
    elif g.norm == "rms":
        sketch.init.append("self.norm = nn.RMSNorm(head_dim, eps=1e-6)")
        sketch.forward.append("o_BTHV = self.norm(o_BTHV)")
    elif g.norm == "wide":
        sketch.init.append("self.norm = nn.RMSNorm(d_model, eps=1e-6)")
        wide = 'self.norm(rearrange(o_BTHV, "b t h v -> b t (h v)"))'
        sketch.forward += [f"wide_BTD = {wide}", f"o_BTHV = {by_heads('wide_BTD')}"]
    if g.residual == "input":
        write_input_skip(g, sketch)
    gates = {"silu": "silu(gate_BTHV)", "sigmoid": "torch.sigmoid(gate_BTHV)", "head": "gate_BTH1"}
    if g.output_gate != "none" and not fused:
        sketch.functions |= {"silu"} & {g.output_gate}
        sketch.forward.append(f"o_BTHV = o_BTHV * {gates[g.output_gate]}")
    sketch.init.append("self.out = nn.Linear(d_model, d_model, bias=False)")
    sketch.forward.append('y_BTD = self.out(rearrange(o_BTHV, "b t h v -> b t (h v)"))')


PARTS = (write_projections, write_features, write_memory, write_paths, write_router, write_residual, write_output)
