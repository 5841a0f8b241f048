"""Train on the 1,797 scanned digits that scikit-learn ships, the whole step compiled; save, reload, time.

    python examples/digits.py [--seeds 0 1 2] [--epochs 40] [--out FOLDER]

It prints the accuracy on a held-out fifth for each seed, writes the weights and every stage of the compiled step to a
folder, and closes with a table of times: a step eager and compiled, the first call cold and warm.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits

import gristmill as gm
import gristmill.nn.functional as F
from gristmill import nn, optim
from gristmill.utils.data import DataLoader, TensorDataset

BATCH = 64


def data():
    """Images in 0..1 and their classes: four fifths to train on, one to test on, split once and for all."""
    images, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    x = gm.from_numpy((images / 16).astype(np.float32))
    y = gm.from_numpy(classes.astype(np.int64))
    return (x[train.tolist()], y[train.tolist()]), (x[test.tolist()], y[test.tolist()])


def network():
    """Two layers with dropout between them."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))


def training_step(net, optimizer):
    """One step of training, not yet compiled."""

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def accuracy(net, x, y):
    """The share of right answers."""
    net.eval()
    with gm.no_grad():
        right = (net(x).argmax(1) == y).float().mean().item()
    net.train()
    return right


def train(seed, epochs, progress):
    """Train one network; returns it with its compiled step and its accuracy on the held-out fifth."""
    (x, y), (tx, ty) = data()
    gm.manual_seed(seed)
    net = network()
    optimizer = optim.Adam(net.parameters(), lr=3e-3)
    schedule = optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
    step = gm.compile(training_step(net, optimizer))
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
    task = progress.add_task(f"seed {seed}", total=epochs, loss=float("nan"), test=0.0)
    for _ in range(epochs):
        for inputs, targets in loader:
            loss = step(inputs, targets)
        schedule.step()
        progress.update(task, advance=1, loss=loss.item(), test=accuracy(net, tx, ty))
    return net, step, accuracy(net, tx, ty)


def reload(net, folder):
    """Save the weights and load them into a new network; the predictions must be the same."""
    path = folder / "digits.pth"
    gm.save(net.state_dict(), path)
    again = network()
    again.load_state_dict(gm.load(path))
    x = data()[1][0]
    net.eval(), again.eval()
    same = bool((net(x).argmax(1) == again(x).argmax(1)).all())
    if not same:
        raise SystemExit("the reloaded network predicts other classes")
    return path


def per_step(step, count):
    """Median seconds of a step on one batch."""
    (x, y), _ = data()
    x, y = x[:BATCH], y[:BATCH]
    times = []
    for _ in range(count):
        start = time.perf_counter()
        step(x, y)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


FIRST_CALL = """
import json, sys, time
sys.path.insert(0, {here!r})
import digits
net = digits.network()
step = digits.gm.compile(digits.training_step(net, digits.optim.Adam(net.parameters(), lr=3e-3)))
(x, y), _ = digits.data()
start = time.perf_counter()
step(x[:digits.BATCH], y[:digits.BATCH])
print(json.dumps(time.perf_counter() - start))
"""


def first_call(cache):
    """Seconds of the first compiled step in a fresh process with this cache folder."""
    here = str(Path(__file__).resolve().parent)
    code = FIRST_CALL.format(here=here)
    environment = {**os.environ, "GRISTMILL_CACHE_DIR": str(cache)}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(here).parent), environment.get("PYTHONPATH", "")]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def timings():
    """Seconds: a step eager and compiled, the first call with an empty and with a filled cache."""
    net = network()
    step = training_step(net, optim.Adam(net.parameters(), lr=3e-3))
    fast = gm.compile(step)
    per_step(step, 3), per_step(fast, 10)
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = first_call(cache), first_call(cache)
    return {
        "step, eager": per_step(step, 30),
        "step, compiled": per_step(fast, 300),
        "first call, cold": cold,
        "first call, warm from disk": warm,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("digits-out"))
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    console = Console()
    columns = (
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  held out {task.fields[test]:.1%}"),
    )  # fmt: skip
    results = []
    with Progress(*columns, console=console) as progress:
        for seed in args.seeds:
            net, step, found = train(seed, args.epochs, progress)
            results.append(found)
    path = reload(net, args.out)
    for stage in ("trace", "graph", "fused", "loops", "schedule", "nests", "llvm", "asm"):
        (args.out / f"step.{stage}.txt").write_text(step.dump(stage) + "\n", encoding="utf-8")
    (args.out / "explain.txt").write_text(f"{step.explain()}\n", encoding="utf-8")

    table = Table(title="scanned digits")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for seed, found in zip(args.seeds, results, strict=True):
        table.add_row(f"held-out accuracy, seed {seed}", f"{found:.1%}")
    for name, seconds in timings().items():
        table.add_row(name, f"{seconds * 1e3:.3f} ms")
    table.add_row("compiled variants", str(len(step.log)))
    console.print(table)
    console.print(f"weights: {path} (reloaded: the same predictions); every stage: {args.out}")


if __name__ == "__main__":
    main()
