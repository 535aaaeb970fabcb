"""``python train_tiny.py FOLDER``: the run that test_kill.py kills."""

import sys

import tiny_network

from landscape.progress import no_bar
from landscape.training import loop
from landscape.training.config import TrainConfig

CONFIG = TrainConfig(
    model=tiny_network.NAME,
    epochs=20,
    batch_size=64,
    rho=0.05,
    group=32,
    dropout=0.2,
    evaluate_every=25,
    checkpoint_every=10,
)

if __name__ == "__main__":
    loop.registry.build = tiny_network.build
    loop.train(CONFIG, sys.argv[1], make_bar=no_bar)
