"""``python -m asiarc.tasks NAME``: a task as a person would read it; without a name, the catalogue."""

from __future__ import annotations

import sys

from asiarc.errors import AsiarcError
from asiarc.tasks import ALIASES, get_task
from asiarc.tasks.catalogue import CATALOGUE


def describe(name: str) -> str:
    """What a task asks, its source, its levels and three documents (which, for text, builds the corpus)."""
    task = get_task(name)
    chance = "" if task.chance is None else f", chance {task.chance:.3f}"
    lines = [f"{task.name}: {task.summary}", f"source: {task.source}"]
    lines += [f"metric: {task.metric}{chance}; role: {task.role}; {task.seq_len} positions", "levels:"]
    for level, settings in task.levels.items():
        lines.append(f"  {level:8} " + ", ".join(f"{key} {value}" for key, value in settings.items()))
    lines.append("three documents:")
    for document in task.documents("validation", 3, "sample"):
        shown = document["text"] if "text" in document else f"{document['context']} -> {document['target']}"
        lines += [f"  {line}" for line in shown.splitlines()]
    return "\n".join(lines)


def catalogue() -> str:
    """One line a task."""
    lines = [f"{name:18} {entry.role:11} {entry.summary}" for name, entry in CATALOGUE.items()]
    return "\n".join(lines + [f"{alias:18} means {name}" for alias, name in ALIASES.items()])


def main(arguments: list[str]) -> int:
    """Print what was asked for; 1 with the reason on stderr where a name is unknown."""
    try:
        sys.stdout.write("\n\n".join(map(describe, arguments)) + "\n" if arguments else catalogue() + "\n")
    except AsiarcError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
