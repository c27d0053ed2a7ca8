"""Every kernel test runs on one thread and on poisoned memory."""

import contextlib

import pytest
import torch


@contextlib.contextmanager
def poisoned_allocations():
    """Fill every uninitialised allocation of torch with NaN, so that no test passes on leftover memory."""
    before = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = before


@pytest.fixture(autouse=True)
def one_thread_on_poisoned_memory():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with poisoned_allocations():
        yield
    torch.set_num_threads(threads)
