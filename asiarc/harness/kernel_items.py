"""What pytest collects of a kernel file: each kernel as its checks, ``::accuracy``, ``::properties``, ``::lean``,
``::speed``; what fails says what was found, what cannot be measured is an error and never a pass."""
# ruff: noqa: D102  (methods of pytest's own, documented there)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asiarc.core.errors import AsiarcError
from asiarc.core.kernel import Kernel
from asiarc.harness.items import DeclaringModule, PlainItem
from asiarc.speed import FaultyKernelError, NotMeasuredError, SpeedError

if TYPE_CHECKING:
    from asiarc.speed.contest import Compared


class KernelModule(DeclaringModule):
    """A kernel file; tests below a declaration are pytest's own."""


class KernelNode(pytest.Collector):
    """A kernel in the tree: file::name::check."""

    kernel: Kernel
    parent: KernelModule

    @classmethod
    def of(cls, parent: KernelModule, name: str, kernel: Kernel) -> KernelNode:
        node: KernelNode = cls.from_parent(parent, name=name)
        node.kernel = kernel
        return node

    def collect(self) -> Iterator[pytest.Item]:
        limits = self.kernel.at_most
        yield AccuracyItem.from_parent(self, name="accuracy")
        yield PropertiesItem.from_parent(self, name="properties")
        if limits.operators is not None or limits.bytes is not None:
            yield LeanItem.from_parent(self, name="lean")
        if self.kernel.speed is not None:
            yield SpeedItem.from_parent(self, name="speed")

    def line(self) -> int:
        """Where the kernel is declared."""
        return self.parent.declaration_line(self.name)


class KernelItem(PlainItem):
    """One check of one kernel."""

    parent: KernelNode

    def setup(self) -> None:
        from asiarc.speed.loading import importable

        importable(self.path)

    def hold(self, found: Sequence[str]) -> None:
        """Fail with what was found."""
        if found:
            raise FaultyKernelError("\n  ".join([f"{self.parent.name} is not as declared:", *found]))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, AsiarcError):
            return self.told(excinfo.value)
        return super().repr_failure(excinfo, style)

    def told(self, error: AsiarcError) -> str:
        """An error at the line where the kernel is declared."""
        return f"{self.path}:{self.parent.line()}: {self.parent.name}::{self.name}: {error}"

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, self.parent.line() - 1, f"{self.parent.name}::{self.name}"


class AccuracyItem(KernelItem):
    """The error against float64, in every dtype and range."""

    def runtest(self) -> None:
        from asiarc.speed.properties import inaccurate

        self.hold(inaccurate(self.parent.name, self.parent.kernel))


class PropertiesItem(KernelItem):
    """What is said to hold, asked of drawn cases."""

    def runtest(self) -> None:
        from asiarc.speed.properties import broken

        found = broken(self.parent.name, self.parent.kernel)
        self.hold([f"{name} does not hold: {text}" for name, text in found.items()])


class LeanItem(KernelItem):
    """Operators and bytes, counted."""

    def runtest(self) -> None:
        from asiarc.speed.lean import too_much

        self.hold(too_much(self.parent.name, self.parent.kernel))


class SpeedItem(KernelItem):
    """The time over the other side's. It is taken in `setup`: what cannot be measured is an error, not a failure."""

    found: Compared

    def setup(self) -> None:
        super().setup()
        if trouble := self.measure():
            pytest.fail(self.told(trouble), pytrace=False)

    def measure(self) -> SpeedError | None:
        """Take the time; why there is none, if there is none."""
        from asiarc.speed.race import race

        try:
            self.found = race(self.path, self.parent.name, self.parent.kernel)
        except SpeedError as error:
            return error
        unmeasured = not self.found.red and self.found.ratio.verdict == "not measured"
        return NotMeasuredError(f"not measured: {self.found.ratio.reason}") if unmeasured else None

    def runtest(self) -> None:
        if self.found.red:
            self.hold([f"not timed: {self.found.red}"])
        self.user_properties.append(("ratio", round(self.found.ratio.ratio * self.found.limit, 4)))
        keep_history(self, self.found)
        if self.found.failed:
            self.hold([self.found.told()])


def keep_history(item: pytest.Item, found: Compared) -> None:
    """The slices' times and the ratio in pytest-benchmark's store, where it is installed and in use."""
    session = getattr(item.config, "_benchmarksession", None)
    if session is None or session.disabled or not found.seconds:
        return
    from pytest_benchmark.fixture import BenchmarkFixture
    from pytest_benchmark.utils import NameWrapper

    readings = (time for seconds in found.seconds for time in (0.0, seconds))
    options = session.options | {"timer": NameWrapper(lambda: next(readings))}
    bench = BenchmarkFixture(
        item, add_stats=session.benchmarks.append, logger=session.logger, warner=item.warn, disabled=False, **options
    )
    bench.extra_info |= {"ratio": found.ratio.as_dict(), "limit": found.limit}
    bench.pedantic(lambda: None, rounds=len(found.seconds))
