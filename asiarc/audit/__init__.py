"""`asiarc audit`: the gates' questions, put to code that was not written for them.

`release.py` examines one program of the ASI-Arch release behind the wall, `helpers.py` stands in for the parts of
flash-linear-attention that need a GPU, `reading.py` finds programs in a path, `table.py` says what came out.
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
