"""``python -m asiarc`` is the ``asiarc`` command."""

from asiarc.harness.cli import main

main()
