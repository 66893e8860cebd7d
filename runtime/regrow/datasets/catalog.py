"""The datasets that are known: what they are, under which terms, from which files. Data only; reads nothing.

A new dataset is a row here, a reader of its files, and a row of `regrow.episodes.SOURCES`. One of photographs
is a row of `picture_sets`, and needs a reader only where its publisher lists them in a new way.
"""

from __future__ import annotations

from regrow.datasets.descriptors import RESEARCH, Dataset, Distribution, File, packed, repository, unpacked
from regrow.datasets.picture_sets import PICTURES

_IDX = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")  # fmt: skip


def _idx(base: str, *digests: str) -> Distribution:
    files = tuple(File(n, f"md5:{d}", base + n) for n, d in zip(_IDX, digests, strict=True))
    return Distribution(files, "regrow.datasets.idx:read")


_OMNIGLOT = "https://github.com/brendenlake/omniglot/raw/master/python/"
_CIFAR = File(
    "cifar-100-binary.tar.gz",
    "md5:03b5dce01913d631647c71ecec9e9cb8",
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
)
_CIFAR_FILES = (
    Distribution((_CIFAR,), "regrow.datasets.cifar:read"),
    Distribution(
        (
            File("cifar100_fs_train300.npz",
                 "sha256:a81f14e882ca4156b1383daa05917416d8ef87ee3157d25cd33b6e81181819d8"),
            File("cifar100_fs_valtest.npz",
                 "sha256:a84df5b3abaffb993a71cf440390f908057b3ee6a91f2a52a44bcb3dc5bb8db3"),
        ),
        "regrow.datasets.cifar:read_packed",
    ),
)  # fmt: skip
_HALF = "the packed form holds 300 of 600 images of each training class; validation and test are complete"

DATASETS: dict[str, Dataset] = {
    "omniglot": Dataset(
        "Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawings each",
        "MIT",
        "Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program "
        "induction. Science 350, 2015",
        "https://github.com/brendenlake/omniglot",
        (
            packed(
                "omniglot_28.npz",
                "c8342102ac6ab5a9a16ca53c0d012b1d952ca813b9436e64cfa8f73a615bf008",
                "omniglot:read_packed",
            ),
            Distribution(
                (
                    File(
                        "images_background.zip",
                        "md5:68d2efa1b9178cc56df9314c21c6e718",
                        _OMNIGLOT + "images_background.zip",
                    ),
                    File(
                        "images_evaluation.zip",
                        "md5:6b91aef0f799c5bb55b94e3f2daec811",
                        _OMNIGLOT + "images_evaluation.zip",
                    ),
                ),
                "regrow.datasets.omniglot:read",
            ),
        ),
        "omniglot_vinyals",
        "28 x 28, ink 1 on paper 0; the 1200 characters that papers train on are train and val (trainval)",
    ),
    "cifar_fs": Dataset(
        "CIFAR-FS: CIFAR-100 by class, 64 / 16 / 20",
        RESEARCH,
        "Bertinetto et al.: Meta-learning with differentiable closed-form solvers. ICLR 2019",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        _CIFAR_FILES,
        "cifar_fs",
        _HALF,
        "cifar100",
    ),
    "fc100": Dataset(
        "FC100: CIFAR-100 by superclass, 60 / 20 / 20 classes",
        RESEARCH,
        "Oreshkin, Rodriguez, Lacoste: TADAM. NeurIPS 2018",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        _CIFAR_FILES,
        "fc100",
        "the packed form holds 300 of 600 images of the classes that CIFAR-FS trains on",
        "cifar100",
    ),
    "mnist": Dataset(
        "MNIST: handwritten digits",
        "CC BY-SA 3.0",
        "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. 1998",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            _idx(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            packed(
                "mnist_20k.npz",
                "6433706893ea7f690fb89e531c7e57c8248f75fb2e1d0def24c076375944ae7f",
                "idx:read_packed",
            ),
        ),
        note="the packed form holds the test set and the first 1,000 of each training class",
    ),
    "fashion_mnist": Dataset(
        "Fashion-MNIST: ten kinds of clothing",
        "MIT",
        "Xiao, Rasul, Vollgraf: Fashion-MNIST. arXiv 1708.07747, 2017",
        "https://github.com/zalandoresearch/fashion-mnist",
        (
            _idx(
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            packed(
                "fashion_mnist_20k.npz",
                "776d863b85ca8f9f13547a71c548660b8fe9c75bc06f5d7f97eed9f3a7c6de35",
                "idx:read_packed",
            ),
        ),
        note="the packed form holds 2,000 per class in no official order: its last 300 serve as test",
    ),
    "stl10": Dataset(
        "STL-10: ten classes at 96 x 96",
        RESEARCH,
        "Coates, Lee, Ng: An analysis of single-layer networks in unsupervised feature learning. 2011",
        "https://cs.stanford.edu/~acoates/stl10/",
        (
            Distribution(
                (
                    File(
                        "stl10_binary.tar.gz",
                        "md5:91f7769df0f17e558f3565bffb0c7dfb",
                        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                    ),
                ),
                "regrow.datasets.stl10:read",
            ),
        ),
    ),
    **PICTURES,
    "caltech101": Dataset(
        "Caltech-101 without faces: 99 classes at 84 x 84, at most 60 images each, 63 / 16 / 20",
        "CC BY 4.0",
        "Fei-Fei, Fergus, Perona: Learning generative visual models from few training examples. 2004",
        "https://data.caltech.edu/records/mzrjq-6wc02",
        (
            packed(
                "caltech101_84.npz",
                "8bc8cfd772697d1d0b52f0e21a17eaa33665868cff613230d15e18f44b5cdf4b",
                "caltech:read_packed",
            ),
        ),
        "caltech101",
        "the split is ours: none is published",
    ),
    "myo_emg": Dataset(
        "Muscle signals of a wrist band: 41 people, 8 gestures, 3 days of 6 repetitions",
        "MIT",
        "Franc: Myo readings dataset",
        "https://github.com/aljazfrancic/myo-readings-dataset",
        (
            packed(
                "myo_emg.npz",
                "5059d49200d69fd6593c0ccc06fafb1a1dd0637caa5177be8aed0bb2519135f0",
                "signals:read_myo",
            ),
        ),
        "myo_emg",
        "episodes stay with one person",
    ),
    "dspspeech20": Dataset(
        "Spoken words: 34 speakers, 20 words, 20 takes, as log-mel of 50 frames x 40 bands",
        "MIT",
        "Chen: DSPSpeech-20",
        "https://github.com/zhongyuchen/DSPSpeech-20",
        (
            packed(
                "dspspeech20_logmel.npz",
                "dd5575210dad8a497b1a1d7f4c73ba4346087376090cb90c2be38ba20d7102d5",
                "signals:read_speech",
            ),
        ),
        "dspspeech20",
        "episodes stay with one speaker",
    ),
    "fsdd": Dataset(
        "Free Spoken Digits: 6 speakers, 10 digits, 50 takes, as log-mel of 50 frames x 40 bands",
        "CC BY-SA 4.0",
        "Jackson et al.: Jakobovski/free-spoken-digit-dataset v1.0.8. 2018. doi:10.5281/zenodo.1342401",
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        (
            repository(
                "free-spoken-digit-dataset",
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
                "digits:read",
            ),
            unpacked("free-spoken-digit-dataset/recordings", "digits:read"),
            packed(
                "fsdd_8k.npz",
                "0dc082a7376abe45a541451d72b31ba47bf00dc013bdf2d14ba9ed86790253ae",
                "digits:read_packed",
            ),
        ),
        "fsdd",
        "episodes stay with one speaker; the split is ours, the official one is by take and not by speaker",
    ),
    "sp_sw_har": Dataset(
        "Activities by phone and by watch: 23 people, 5 activities, windows of a second at 100 Hz",
        "CC BY 4.0",
        "Matey-Sanz, Casteleyn, Granell: Dataset of inertial measurements of smartphones and smartwatches "
        "for human activity recognition. Data in Brief, 2023",
        "https://github.com/GeoTecINIT/sp-sw-har-dataset",
        (
            repository(
                "sp-sw-har-dataset",
                "https://github.com/GeoTecINIT/sp-sw-har-dataset/archive/"
                "1408d85a512a53861de7bc4729dee283fff2ea9d.zip",
                "motion:read",
            ),
            unpacked("sp-sw-har-dataset/DATA", "motion:read"),
            packed(
                "sp_sw_har.npz",
                "f36d19c49393bdc5460a99e4a444ca2c8f06a2846c1b04355fa04a61417631be",
                "motion:read_packed",
            ),
        ),
        "sp_sw_har",
        "episodes stay with one person and one device; windows of one run never stand on both sides",
    ),
    "uci_har": Dataset(
        "Activities by waist-worn phone: 30 users, 6 activities, windows of 2.56 s",
        "research; no commercial use",
        "Anguita et al.: A public domain dataset for human activity recognition. ESANN 2013",
        "https://archive.ics.uci.edu/dataset/240",
        (
            packed(
                "uci_har.npz",
                "0a4769bf95c8162ecf1104bc96b6bb544b31de980248d368e3689590511717af",
                "signals:read_har",
            ),
        ),
        "uci_har",
        "episodes stay with one user; windows of one bout never stand on both sides",
    ),
    "gas_drift": Dataset(
        "Gas sensors that drift: 6 gases, 16 sensors x 8 features, in batches over three years",
        "research; no commercial use",
        "Vergara et al.: Chemical gas sensor drift compensation using classifier ensembles. 2012",
        "https://archive.ics.uci.edu/dataset/224",
        (
            packed(
                "gas_drift.npz",
                "6a040c245e4e5f4a423a58d3319334258565b0f1fb5239f235773b26e75fbcac",
                "signals:read_gas",
            ),
        ),
        "gas_drift",
        "episodes stay with one batch; a feature is the signed logarithm of what was measured",
    ),
}
