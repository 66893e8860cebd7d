"""M2SGD's table 3: an MLP on Fashion-MNIST."""

from __future__ import annotations

from benchmarks.papers.learners import Setting
from benchmarks.papers.m2sgd import LONGER, Case, table
from benchmarks.papers.table import Preset, Published

LENGTHS = {"steps": ("10000",), "long": ("37500",)}
CASE = Case(
    name="m2sgd_mlp",
    title="M2SGD, table 3: an MLP on Fashion-MNIST",
    setting=Setting("fashion_mnist", "mlp", {"hidden": [32]}, (1, 28, 28), 300),
    thresholds=(0.0, 0.1, 0.2),
    published={
        LONGER: Published(0.8272, 0.0055),
        "Meta-SGD": Published(0.8506, 0.0072),
        "DMSGD": Published(0.8537, 0.0055),
        "M2SGD 0": Published(0.8480, 0.0035),
        "M2SGD 0.1": Published(0.8446, 0.0043),
        "M2SGD 0.2": Published(0.8381, 0.0076),
    },
    removed={
        "M2SGD 0": Published(0.4900),
        "M2SGD 0.1": Published(0.6068),
        "M2SGD 0.2": Published(0.6894),
    },
    differs=(
        "14,000 images to train with and 3,000 to choose a rate, where the paper has 60,000; 3,000 to test.",
        "10,000 steps, and 37,500 of the longer SGD, as in the paper.",
    ),
    presets={
        "cpu": Preset("the paper's lengths, four optimisers of five learners", (0, 1, 2, 3), 5, LENGTHS),
        "gpu": Preset("the paper's lengths, ten optimisers of five learners", tuple(range(10)), 5, LENGTHS),
    },
    remarks=(
        "Plain gradient descent at the paper's own rate of 0.001 and length, on a quarter of its images, is "
        "below none of its learned optimisers here, and three points above what is printed of it. At a "
        "threshold of 0 as many weights are removed as printed, which needs no training: half of all rates "
        "are zero in an LSTM as it is drawn. Higher thresholds remove more than printed. Accuracy depends "
        "on which optimiser was drawn more than on anything that this table varies, as the means by seed in "
        "the record show: the best of ours is about a point below what is printed, the worst loses ten to "
        "twenty once its mask is on, the more the higher the threshold. One optimiser, or the best five of "
        "ten learners, hides that. With mask and rates frozen after a warm-up, which is what a device can "
        "be given, no draw is far below the others; but plain gradient descent at a tuned rate under a "
        "random mask of as many weights is as good at every threshold, and an optimiser that was never "
        "trained gives masks as good as a trained one's until the highest. Tried: four seeds of optimiser "
        "and learners, 20 trajectories, the untrained optimiser, and rates of plain gradient descent."
    ),
)
TABLE = table(CASE)
