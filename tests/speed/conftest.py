"""What pytest-benchmark writes into a history that is shared: the device, not the machine's name."""

import pytest
import torch


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info.pop("node", None)
    machine_info["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
