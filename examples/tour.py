"""Two minutes with Gristmill: eager tensors, a gradient, a compiled function, and a look inside it."""

import gristmill as gm
import gristmill.nn.functional as F
from gristmill import nn, optim


def title(text):
    print(f"\n--- {text} ---")


def eager():
    title("eager: every operation runs at once")
    x = gm.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = (x @ x.T).relu().mean()
    y.backward()
    print("y =", y.item())
    print("dy/dx =\n", x.grad)


def transforms():
    title("derivatives as functions of functions")
    f = lambda w: (w.tanh() ** 2).sum()  # noqa: E731
    value, slope = gm.value_and_grad(f)(gm.tensor([0.5, -1.0]))
    print("value", value.item(), " gradient", slope)


def compiled():
    title("compile: the whole training step becomes one native program")
    gm.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    opt = optim.Adam(net.parameters(), lr=0.01)

    @gm.compile
    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    x, y = gm.randn(64, 4), gm.randint(0, 3, (64,))
    losses = [step(x, y).item() for _ in range(100)]
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; variants compiled: {len(step.log)}")
    step(x[:10], y[:10])
    step(x[:33], y[:33])
    print("a second batch size compiled once more, a third did not:", step.log)

    title("explain")
    print(step.explain())
    title("the graph, its first lines")
    print("\n".join(step.dump("graph").splitlines()[:8]))
    title("one naive loop nest, and the steps that schedule it")
    print("\n".join(step.dump("loops").splitlines()[:12]))
    print(step.dump("schedule").splitlines()[0])


def debug():
    title("switch compilation off to debug")

    @gm.compile
    def f(x):
        return (x * 2 + 1).sum()

    with gm.eager():
        print("inside gm.eager():", f(gm.ones(3)))
    try:
        gm.ones(2, 3) @ gm.ones(2, 3)
    except gm.ShapeError as error:
        print(error)


if __name__ == "__main__":
    eager()
    transforms()
    compiled()
    debug()
