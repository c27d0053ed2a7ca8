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


def sub(payload):
    import subprocess, os, socket

    out = {}
    for n, f in dict(
        sub=lambda: subprocess.run(["git"]),
        fork=os.fork,
        ex=lambda: os.execv("/bin/sh", ["sh"]),
        sock=socket.socket,
        kill=lambda: os.kill(1, 9),
        system=lambda: os.system("ls"),
        spawn=lambda: os.posix_spawn("/bin/ls", ["ls"], {}),
        thread=lambda: __import__("threading").Thread(target=print).start(),
        home=lambda: os.listdir("/root"),
        w=lambda: open("/tmp/x", "w"),
        ok=lambda: open("x", "w").write("a"),
    ).items():
        try:
            out[n] = str(f())
        except Exception as e:
            out[n] = repr(e)
    return out
