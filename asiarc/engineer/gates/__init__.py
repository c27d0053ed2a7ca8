"""Gates: executed checks that admit or reject a candidate before it gets a training step.

`admit` runs `GATES` in order of cost (`admission.py`); each gate is a small class in the module named after
what it guards. Everything here runs candidate code and therefore in the sandbox. Unusual: Hypothesis runs
inside the product, to draw shapes, cuts and splits and to shrink the failing ones.
"""

from asiarc.engineer.gates.admission import GATES, Admission, admit
from asiarc.engineer.gates.gate import Finding, Gate
from asiarc.engineer.gates.subject import Subject

__all__ = ["GATES", "Admission", "Finding", "Gate", "Subject", "admit"]
