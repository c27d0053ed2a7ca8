"""The researcher: proposes candidates; what it is given and answers is `asiarc.core.proposal`.

Offline, `grammar` proposes genomes and `render` writes them out from `parts`; `mechanisms` has their words, and
`designs` names the baselines and the paper's five headline architectures in them. With a language model, `asking` puts
the prompts of `briefing`, reads the answers as `ideas`, and asks by `novelty` whether one is new; `bandit` chooses the
model. Nothing here imports torch.
"""
