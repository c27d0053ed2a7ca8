"""Jobs that attack the wall."""


def echo(payload):
    """Return the payload."""
    return payload


def spin(payload):
    while True:
        pass


def train(payload):
    import torch

    torch.manual_seed(0)
    m = torch.nn.Linear(64, 64)
    o = torch.optim.AdamW(m.parameters())
    for _ in range(5):
        l = (m(torch.randn(32, 64)) ** 2).mean()
        l.backward()
        o.step()
        o.zero_grad()
    return {"loss": l.item()}


def bomb(payload):
    import torch

    torch.zeros(50_000_000_000)


def grow(payload):
    x = []
    while True:
        x.append(bytearray(10_000_000))
