"""The sets of photographs: each in one folder per class, and as its publisher lays it out. Data only.

Checksums are those that the publishers state, or that several independent projects have for the same file.
"""

from __future__ import annotations

from regrow.datasets.descriptors import RESEARCH, Dataset, Distribution, File, listed, out_of, unpacked

_PER_CLASS = "folders:read"
_BIRDS = File(
    "CUB_200_2011.tgz",
    "md5:97eceeb196236b17998738112f37df78",
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
)
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_PLANES = File(
    "fgvc-aircraft-2013b.tar.gz",
    "md5:d4acdd33327262359767eeaa97a4f732",
    "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
)
_FUNGI = "https://labs.gbif.org/fgvcx/2018/"

PICTURES: dict[str, Dataset] = {
    "mini_imagenet": Dataset(
        "mini-ImageNet: 100 classes of ImageNet at 84 x 84, 64 / 16 / 20",
        "ImageNet's terms of access",
        "Vinyals et al.: Matching networks. NIPS 2016; split of Ravi, Larochelle. ICLR 2017",
        "https://www.image-net.org",
        (
            unpacked("mini_imagenet", _PER_CLASS),
            listed("mini_imagenet", *map(File, ("images", "train.csv", "val.csv", "test.csv"))),
        ),
        "mini_imagenet",
        "one folder per synset (n01532829, ...), parts in sub-folders or not; or a folder images beside "
        "Ravi and Larochelle's train.csv, val.csv and test.csv. Pickles are never opened",
    ),
    "tiered_imagenet": Dataset(
        "tieredImageNet: 608 classes of ImageNet at 84 x 84, 351 / 97 / 160",
        "ImageNet's terms of access",
        "Ren et al.: Meta-learning for semi-supervised few-shot classification. ICLR 2018",
        "https://www.image-net.org",
        (unpacked("tiered_imagenet", _PER_CLASS),),
        "tiered_imagenet",
        "one folder per synset, parts in sub-folders or not. The official files are pickles, which are never "
        "opened: to load one is to run what is in it",
    ),
    "cub": Dataset(
        "Caltech-UCSD Birds 200-2011 at 84 x 84, 100 / 50 / 50",
        "non-commercial research",
        "Wah, Branson, Welinder, Perona, Belongie: The Caltech-UCSD Birds-200-2011 dataset. 2011",
        "https://www.vision.caltech.edu/datasets/cub_200_2011/",
        (Distribution(out_of(_BIRDS, "CUB_200_2011/images"), f"regrow.datasets.{_PER_CLASS}"),),
        "cub",
        "the unpacked archive as it is",
    ),
    "vgg_flower": Dataset(
        "VGG Flowers 102 at 84 x 84, 71 / 15 / 16",
        RESEARCH,
        "Nilsback, Zisserman: Automated flower classification over a large number of classes. ICVGIP 2008",
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        (
            unpacked("vgg_flower", _PER_CLASS),
            listed(
                "vgg_flower",
                *out_of(
                    File(
                        "102flowers.tgz",
                        "md5:52808999861908f626f3c1f4e79d11fa",
                        _FLOWERS + "102flowers.tgz",
                    ),
                    "jpg",
                ),
                File(
                    "imagelabels.mat",
                    "md5:e0620be6f572b9609742df49c70aed4d",
                    _FLOWERS + "imagelabels.mat",
                ),
            ),
        ),
        "vgg_flower",
        "one folder per class, named like the list (001.pink primrose, ...); or the unpacked archive's "
        "folder jpg beside imagelabels.mat",
    ),
    "aircraft": Dataset(
        "FGVC-Aircraft variants at 84 x 84, 70 / 15 / 15",
        "non-commercial research",
        "Maji, Rahtu, Kannala, Blaschko, Vedaldi: Fine-grained visual classification of aircraft. 2013",
        "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        (
            unpacked("aircraft", _PER_CLASS),
            listed(
                "aircraft",
                *out_of(
                    _PLANES,
                    "fgvc-aircraft-2013b/data/images",
                    "fgvc-aircraft-2013b/data/images_variant_train.txt",
                    "fgvc-aircraft-2013b/data/images_variant_val.txt",
                    "fgvc-aircraft-2013b/data/images_variant_test.txt",
                    "fgvc-aircraft-2013b/data/images_box.txt",
                ),
            ),
        ),
        "aircraft",
        "one folder per variant, a slash in its name written as an underscore, pictures taken whole; or the "
        "unpacked archive, each picture cut to the box around its aircraft as in Meta-Dataset, which leaves "
        "out the banner",
    ),
    "fungi": Dataset(
        "FGVCx Fungi at 84 x 84, 994 / 200 / 200",
        "non-commercial research",
        "FGVCx Fungi classification challenge. CVPR 2018",
        "https://github.com/visipedia/fgvcx_fungi_comp",
        (
            unpacked("fungi", _PER_CLASS),
            listed(
                "fungi",
                *out_of(
                    File(
                        "fungi_train_val.tgz",
                        "md5:df2b2980835668ed1d9a0e286e4bdadd",
                        _FUNGI + "fungi_train_val.tgz",
                    ),
                    "images",
                ),
                *out_of(
                    File(
                        "train_val_annotations.tgz",
                        "md5:c3c0f1b8a8d0b60619c43d9c89bdbc7e",
                        _FUNGI + "train_val_annotations.tgz",
                    ),
                    "train.json",
                    "val.json",
                ),
            ),
        ),
        "fungi",
        "one folder per class, named like the list; or the unpacked archives, images beside train.json and "
        "val.json",
    ),
}
