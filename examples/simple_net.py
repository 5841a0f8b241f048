"""The first program a newcomer writes: a small network, a data loader, a training loop, a saved state dict.

Only the import lines differ from the same program in PyTorch. Then the training step is decorated, and nothing else.
"""

import tempfile
from pathlib import Path

import gristmill as torch
import gristmill.nn as nn
import gristmill.nn.functional as F
import gristmill.optim as optim
from gristmill.utils.data import DataLoader, TensorDataset


class SimpleNet(nn.Module):
    def __init__(self):
        super(SimpleNet, self).__init__()  # noqa: UP008 (as most tutorials write it)
        self.fc1 = nn.Linear(10, 50)
        self.fc2 = nn.Linear(50, 1)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        return self.fc2(x)


def train(compiled):
    torch.manual_seed(0)
    model = SimpleNet()
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=0.01)

    data = torch.randn(1000, 10)
    labels = data.sum(1, keepdim=True) + 0.1 * torch.randn(1000, 1)
    loader = DataLoader(TensorDataset(data, labels), batch_size=32, shuffle=True)

    def step(inputs, targets):
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        return loss

    if compiled:
        step = torch.compile(step)

    for epoch in range(100):
        for inputs, targets in loader:
            loss = step(inputs, targets)
        if epoch % 20 == 19:
            print(f"Epoch [{epoch + 1}/100], Loss: {loss.item():.4f}")
    return model


def main():
    for compiled in (False, True):
        print("compiled" if compiled else "eager")
        model = train(compiled)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.pth"
            torch.save(model.state_dict(), path)
            again = SimpleNet()
            again.load_state_dict(torch.load(path))
        x = torch.randn(4, 10)
        assert torch.equal(model(x), again(x))
    print("saved, loaded into a new model: the same predictions")


if __name__ == "__main__":
    main()
