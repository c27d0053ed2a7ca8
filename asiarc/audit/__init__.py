"""`asiarc audit`: the gates' questions, put to code that was not written for them.

`targets.py` finds what there is to audit; in the sandbox `released.py` examines a program of the ASI-Arch release and
`named.py` a class or an exported model, each as a `specimen.py` to which the `questions.py` are put. `program.py` makes
modules of text, `helpers.py` stands in for the parts of flash-linear-attention that need a GPU, `table.py` says what
came out.
"""

PROPERTIES = (
    "causal",
    "independent_of_total_length",
    "stateless_in_eval",
    "batch_independent",
    "batch_independent_with_mask",
    "cached_decoding",
    "float32",
)
