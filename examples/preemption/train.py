"""A training that survives the loss of its machine: it goes on from its last checkpoint."""

import json
import os
import random
import signal
from pathlib import Path

EPOCHS = int(os.environ.get("EPOCHS", "20"))
CHECKPOINT, LOSSES = Path("out/checkpoint.json"), Path("out/losses.csv")


def save(path: Path, text: str) -> None:
    """Written under another name and renamed: whoever copies it meanwhile gets the old one or the new one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def main() -> None:
    Path("out").mkdir(exist_ok=True)
    state = {"epoch": 0, "weight": 10.0}
    if CHECKPOINT.exists():  # RUNNER_RESUME=1: an earlier attempt left it
        state = json.loads(CHECKPOINT.read_text())
        print(f"going on after epoch {state['epoch']}", flush=True)
    losses = LOSSES.read_text().splitlines()[: state["epoch"]] if LOSSES.exists() else []
    for epoch in range(state["epoch"] + 1, EPOCHS + 1):
        state = {"epoch": epoch, "weight": state["weight"] * 0.8 + random.uniform(-0.05, 0.05)}
        losses.append(f"{epoch},{state['weight'] ** 2:.6f}")
        save(LOSSES, "\n".join(losses) + "\n")
        save(CHECKPOINT, json.dumps(state))
        print(f"epoch {epoch} loss {state['weight'] ** 2:.4f}", flush=True)
        if os.environ.get("PAUSE_AFTER") == f"{epoch} of attempt {os.environ['RUNNER_ATTEMPT']}":
            signal.pause()  # for trying it out: time to take the machine away


if __name__ == "__main__":
    main()
