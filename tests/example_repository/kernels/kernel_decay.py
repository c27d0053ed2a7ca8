"""What is asked of `decay`."""

from asiarc import Input, Kernel, Limits, Speed

decay = Kernel(
    function="decay:decay",
    reference="decay:by_token",
    inputs={
        "x": "B T D",
        "gate": Input(axes="B T D", values="log_decay", also=("open",)),
        "initial_state": "B D",
    },
    outputs={"o": "B T D", "final_state": "B D"},
    states={"initial_state": "final_state"},
    holds=("causal", "hand_over", "batch", "deterministic", "gradients"),
    at_most=Limits(error=1e-5, operators=180, bytes=1_500_000),
    speed=Speed(peer="decay:by_token", at_most=1.5),
    sizes={"B": 2, "T": 48, "D": 16},
)
