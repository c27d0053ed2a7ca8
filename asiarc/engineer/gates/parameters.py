"""The trainable parameters are what `parameters()` says, from construction on, and belong to one mixer."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from asiarc.engineer.gates.gate import Cost, Finding, Gate
from asiarc.engineer.gates.snapshot import tensors_within
from asiarc.engineer.gates.subject import Subject, relative_error, run


class Parameters(Gate):
    """Size is honest: no parameter made lazily, kept outside the module, shared between mixers or laid over another,
    none of a class of its own; counted by the memory that they hold.

    Fixed buffers may not outweigh the parameters. A second mixer has equal weights, gives equal outputs, and
    depends on nothing that the first did. Cannot see weights spelled out as formulas.
    """

    name = "parameters"
    cost = Cost.FORWARD

    def check(self, subject: Subject) -> Finding | None:
        """Two mixers, before and after a call."""
        made = subject.make(moved=0, dtype=None)
        if complex_valued := [name for name, p in made.named_parameters() if p.is_complex()]:
            return self.finds("complex parameters count half of their numbers: " + ", ".join(complex_valued)
                              + "; hold real ones and use torch.view_as_complex")  # fmt: skip
        if odd := [
            f"{name} ({type(p).__name__})" for name, p in made.named_parameters() if type(p) is not nn.Parameter
        ]:
            return self.finds(f"parameters of a class of their own: {', '.join(odd)}; use torch.nn.Parameter")
        first, second = subject.make(moved=0), subject.make(moved=0)
        before = _shapes(first)
        x_BTD = subject.inputs(2, 20, "parameters")
        y_BTD, _ = run(first, x_BTD)
        if _shapes(first) != before:
            return self.finds("its parameters change in number or shape at the first call; make them in __init__",
                              expected=f"{len(before)} tensors", actual=f"{len(_shapes(first))} tensors")  # fmt: skip
        return self._hidden(first) or self._laid_over(first) or self._shared(first, second, x_BTD, y_BTD)

    def _hidden(self, mixer: nn.Module) -> Finding | None:
        known = {id(p) for p in nn.Module.parameters(mixer)}
        if known != {id(p) for p in mixer.parameters()}:
            return self.finds("parameters() gives others than the module holds; leave it as torch defines it")
        constants = {path: t for path, t in tensors_within(mixer).items() if id(t) not in known}
        trainable = [path for path, t in constants.items() if t.requires_grad and t.is_leaf]
        if trainable:
            return self.finds("trainable tensors outside parameters(): " + ", ".join(trainable))
        held, most = numbers_in(constants.values()), numbers_in(mixer.parameters())
        if held > most:
            return self.finds("holds more constants than parameters; size is matched by parameters",
                              expected=f"at most {most} numbers", actual=f"{held} numbers")  # fmt: skip
        return None

    def _laid_over(self, mixer: nn.Module) -> Finding | None:
        owners: dict[int, str] = {}
        for name, p in mixer.named_parameters():
            storage = p.untyped_storage()
            if storage.nbytes() < p.numel() * p.element_size():
                return self.finds(f"parameter {name} is an expanded view: it counts more numbers than it holds")
            owner = owners.setdefault(storage.data_ptr(), name)
            if owner != name and p.numel():
                return self.finds(f"parameters {owner} and {name} share memory; register one tensor once")
        return None

    def _shared(self, first: nn.Module, second: nn.Module, x_BTD: Tensor, y_BTD: Tensor) -> Finding | None:
        mine = {p.data_ptr() for p in first.parameters()}
        shared = [name for name, p in second.named_parameters() if p.data_ptr() in mine and p.numel()]
        if shared:
            return self.finds("two mixers share the parameters " + ", ".join(shared))
        error = relative_error(run(second, x_BTD)[0], y_BTD)
        if _shapes(first) != _shapes(second) or not error <= 1e-6:
            return self.finds("a second mixer, made with the same seed, computes something else",
                              expected="equal outputs", actual=f"relative error {error:.2g}")  # fmt: skip
        return None


def numbers_in(tensors: Iterable[Tensor]) -> int:
    """Numbers held in the memory of tensors, each memory once: a view counts what is behind it."""
    memory = [(Tensor.untyped_storage(tensor), tensor.dtype.itemsize) for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() // size for storage, size in memory}.values())


def _shapes(mixer: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in mixer.named_parameters()}
