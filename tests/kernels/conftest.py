import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread_and_poisoned_allocations():
    """Every uninitialised allocation of torch is filled with NaN, so that no test passes on leftover memory."""
    threads, poisoned = torch.get_num_threads(), torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = poisoned
