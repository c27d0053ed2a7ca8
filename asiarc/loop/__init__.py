"""The closed loop of a campaign (the paper's Figure 4): `run` is the loop, the modules beside it are its steps."""
