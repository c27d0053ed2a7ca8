"""Collected where it is asked for by its path only; `--against` names the other commit."""

from pathlib import Path

HERE = Path(__file__).parent
BEFORE = "f40b8a8"  # since then trials are scored token by token


def pytest_addoption(parser):
    parser.addoption("--against", default=BEFORE, metavar="COMMIT", help="whose trials and populations are compared")


def pytest_ignore_collect(collection_path, config):
    asked = [Path(str(argument).partition("::")[0]).resolve() for argument in config.args]
    return None if any(path == HERE or HERE in path.parents for path in asked) else True
