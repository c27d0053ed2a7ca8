"""``python -m asiarc`` is the ``asiarc`` command."""

from asiarc.cli import main

main()
