"""What the token chooses of a memory, and how it is read: strengths of writes, decays, angles, the scale."""

from __future__ import annotations

from collections.abc import Sequence

from asiarc.core.genome import PER_CHANNEL, PRODUCT, Genome
from asiarc.researcher.sketch import Sketch, by_heads, call, function, low_rank


def recalled(g: Genome) -> str:
    """What is read of the memory: the output, or one of the paths."""
    return "o_BTHV" if len(g.paths()) == 1 else "recalled_BTHV"


def values(g: Genome) -> str:
    """What the values are called: a row a step where a token has several."""
    return "v_BRHV" if g.memory in PRODUCT else "v_BTHV"


def write_read(g: Genome, sketch: Sketch, kernel: str, arguments: Sequence[str], name: str = "memory") -> None:
    """Call an operator, which begins with the state's memory and gives the next one."""
    sketch.kernels.add(kernel)
    given = [*arguments, f'initial_state=state.get("{name}")']
    sketch.forward.append(call(f"{recalled(g)}, memory_BHKV", kernel, given))
    sketch.state[name] = "memory_BHKV"


def read_scale(g: Genome, query: str) -> str:
    """The factor on what is read, so that a matching key returns its value at about full size; empty is 1 / sqrt(K).

    It matters where the memory is one of several paths; before a norm a head it cancels.
    """
    if g.key_norm == "l1" or g.features == "softmax":
        return f"{query}.shape[-1]"
    return "1.0" if g.key_norm == "l2" or g.coupled_input else ""


def write_beta(g: Genome, sketch: Sketch) -> str:
    """The strength of a write; returns its name."""
    beta, outputs, pattern = "beta_BTH", "num_heads", "self.beta(x_BTD)"
    if g.memory in PRODUCT:
        beta, outputs = "beta_BRH", "STEPS * num_heads"
        pattern = 'rearrange(self.beta(x_BTD), "b t (n h) -> b (t n) h", n=STEPS)'
    sketch.init.append(f"self.beta = nn.Linear(d_model, {outputs}, bias=False)")
    factor = "2 * " if g.negative_eigenvalues else ""
    weaker = " * feedback_H1[:, 0]" if g.memory == "comba" else ""
    sketch.forward.append(f"{beta} = {factor}torch.sigmoid({pattern}){weaker}")
    return beta


def write_decay(g: Genome, sketch: Sketch) -> str:
    """The logarithm of the decay that the token chooses; returns its name."""
    axes = "D" if g.memory in PER_CHANNEL else "H"
    result = write_sigmoid_decay(g, sketch, axes) if g.decay == "sigmoid" else write_step(g, sketch, axes)
    if g.time_scales == "heads":
        sketch.constants.append("SLOWEST = 16.0")
        heads = "torch.linspace(0, -math.log(SLOWEST), self.num_heads)"
        sketch.forward += [
            f"slower_H = {heads}.to({result}).exp()",
            f"{result} = {result} * slower_H{'[:, None]' if axes == 'D' else ''}",
        ]
    return result


def write_sigmoid_decay(g: Genome, sketch: Sketch, axes: str) -> str:
    """log sigmoid(x w + b) / 16 (arXiv 2312.06635, sec. 4.4)."""
    width = "d_model" if axes == "D" else "num_heads"
    plain = f"self.decay = nn.Linear(d_model, {width}, bias=False)"
    sketch.init.append(low_rank("self.decay", "RANK") if axes == "D" else plain)
    sketch.functions.add("logsigmoid")
    sketch.constants += ["RANK = 16"] * (axes == "D") + ["TEMPERATURE = 16.0"]
    sketch.init.append(f"self.decay_bias_{axes} = nn.Parameter(torch.zeros({width}))")
    value = f"logsigmoid(self.decay(x_BTD) + self.decay_bias_{axes}) / TEMPERATURE"
    sketch.forward.append(f"log_decay_BT{axes} = {value}")
    if axes == "H":
        return "log_decay_BTH"
    sketch.forward.append(f"log_decay_BTHK = {by_heads('log_decay_BTD', 'k')}")
    return "log_decay_BTHK"


def write_step(g: Genome, sketch: Sketch, axes: str) -> str:
    """-a softplus(x w + b) (arXiv 2405.21060), with a that a head learns or that the token chooses (2603.15569)."""
    width = "d_model" if axes == "D" else "num_heads"
    plain = f"self.step = nn.Linear(d_model, {width}, bias=False)"
    sketch.init.append(low_rank("self.step", "head_dim") if axes == "D" else plain)
    sketch.functions.add("softplus")
    rate, size = ("log_rate_H1", "num_heads, 1") if axes == "D" else ("log_rate_H", "num_heads")
    first = f"torch.empty({width}).uniform_(math.log(1e-3), math.log(0.05))"
    learnt = f"self.{rate} = nn.Parameter(torch.empty({size}).uniform_(1, 4).log())"
    chosen = "self.rate = nn.Linear(d_model, num_heads, bias=False)"
    sketch.init += [
        f"first_step_{axes} = torch.exp({first})",
        f"self.step_bias_{axes} = nn.Parameter(first_step_{axes}.expm1().log())",
        chosen if g.decay == "rate" else learnt,
    ]
    sketch.forward.append(f"step_BT{axes} = softplus(self.step(x_BTD) + self.step_bias_{axes})")
    if axes == "D":
        sketch.forward.append(f"step_BTHK = {by_heads('step_BTD', 'k')}")
    result, step = ("log_decay_BTHK", "step_BTHK") if axes == "D" else ("log_decay_BTH", "step_BTH")
    scale = "softplus(self.rate(x_BTD))" if g.decay == "rate" else f"self.{rate}.exp()"
    sketch.forward.append(f"{result} = -{scale} * {step}")
    return result


def write_turn(g: Genome, sketch: Sketch) -> None:
    """Turn queries and keys by the sum of dt_s pi tanh(x_s W) over all tokens s so far (arXiv 2603.15569)."""
    sketch.help(function("mamba3", "rotate", called="turned"))
    sketch.axis("F", "angles")
    sketch.init += ["self.turn = nn.Linear(d_model, max(1, head_dim // 4), bias=False)"]
    sketch.forward += [
        "turn_BTHF = math.pi * torch.tanh(self.turn(x_BTD))[:, :, None] * step_BTH[..., None]",
        "exact = torch.promote_types(turn_BTHF.dtype, torch.float32)",
        "angle_BTHF = turn_BTHF.cumsum(1, dtype=exact)",
        'if "angle" in state:',
        '    angle_BTHF = angle_BTHF + state["angle"][:, None]',
    ]
    if sketch.q == "q_BT1K":
        expanded = ", ".join(f"{name}.expand(-1, -1, self.num_heads, -1)" for name in (sketch.q, sketch.k))
        sketch.q, sketch.k = "q_BTHK", "k_BTHK"
        sketch.forward.append(f"{sketch.q}, {sketch.k} = {expanded}")
    sketch.forward += [f"{name} = turned({name}, angle_BTHF).type_as(v_BTHV)" for name in (sketch.q, sketch.k)]
    sketch.state["angle"] = "angle_BTHF[:, -1].remainder(2 * math.pi)"
