import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_inception import InputError, MissingExtra, data
from keras_inception.evaluation import evaluate
from tests.data.pictures import labels_of, names_of, picture


class _Tiny(tfds.core.GeneratorBasedBuilder):
    """Pictures of a size of their own each; picture i of a split has seed i and label i % 3."""

    VERSION = tfds.core.Version("1.0.0")
    SPLITS = {"train": 40}
    SECRET = ()
    skip_registration = True

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=["ant", "bee", "cat"]),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            features=features,
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name, n) for name, n in self.SPLITS.items()}

    def _generate_examples(self, split, count):
        for i in range(count):
            label = -1 if split in self.SECRET else i % 3
            yield i, {"image": picture(6 + i, 9, i), "label": label}


class TinyWithTrain(_Tiny):
    pass


class TinyWithTest(_Tiny):
    SPLITS = {"train": 40, "test": 7}


class TinyWithSecretTest(_Tiny):
    SPLITS = {"train": 8, "validation": 5, "test": 3}
    SECRET = ("test",)


class TinyWithoutTrain(_Tiny):
    SPLITS = {"test": 3}


class TinyWithoutLabels(_Tiny):
    def _info(self):
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "label": tf.int64})
        return tfds.core.DatasetInfo(builder=self, features=features)


class TinyWithNames(_Tiny):
    """Named like ImageNet, in a feature called like ImageNet's."""

    SPLITS = {"train": 3, "validation": 3}
    NAME_KEY, NAME = "file_name", tfds.features.Text()

    def _info(self):
        info = super()._info()
        features = tfds.features.FeaturesDict({**info.features, self.NAME_KEY: self.NAME})
        return tfds.core.DatasetInfo(
            builder=self, features=features, supervised_keys=("image", "label")
        )

    def _generate_examples(self, split, count):
        for i, one in super()._generate_examples(split, count):
            short = {"train": "train", "validation": "val"}[split]
            yield i, {**one, self.NAME_KEY: f"ILSVRC2012_{short}_{i + 1:08d}.JPEG"}


class TinyWithOtherNames(TinyWithNames):
    NAME_KEY = "image/filename"


class TinyWithNamesOfAnotherKind(TinyWithNames):
    NAME = tfds.features.ClassLabel(names=[f"ILSVRC2012_train_{i:08d}.JPEG" for i in range(1, 4)])
    SPLITS = {"train": 3}

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples("train", 3)}


class TinyOffline(_Tiny):
    def _split_generators(self, dl_manager):
        raise ConnectionError("the host cannot be resolved\nmore lines")


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """TFDS knows the builders above, and nothing else of this project does."""
    original = tfds.builder
    classes = [*_Tiny.__subclasses__(), *TinyWithNames.__subclasses__()]
    builders = {f"tiny_{b.__name__[4:].lower()}": b for b in classes}

    def builder(name, **options):
        return builders[name](**options) if name in builders else original(name, **options)

    monkeypatch.setattr(tfds, "builder", builder)


def test_train_alone_is_split_by_seed(tmp_path):
    dataset = data.load("tiny_withtrain", data_dir=tmp_path)
    assert dataset.class_names == ("ant", "bee", "cat")
    sizes = (len(dataset.train), len(dataset.validation), len(dataset.test))
    assert sizes == (28, 4, 8)
    seen = {}
    for split in (dataset.train, dataset.validation, dataset.test):
        for example in split.examples().as_numpy_iterator():
            image = data.decode_image(tf.constant(example["image"])).numpy()
            seed = len(image) - 6
            np.testing.assert_array_equal(image, picture(6 + seed, 9, seed))
            assert example["label"] == seed % 3
            seen[seed] = example["name"]
    assert sorted(seen) == list(range(40)) and len(set(seen.values())) == 40
    other = data.load("tiny_withtrain", data_dir=tmp_path, seed=1)
    assert names_of(other.test) != names_of(dataset.test)


def test_own_parts_are_kept(tmp_path):
    dataset = data.load("tiny_withtest", data_dir=tmp_path)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (36, 4, 7)
    assert labels_of(dataset.test) == [0, 1, 2, 0, 1, 2, 0]


def test_secret_labels_are_no_test_part(tmp_path):
    dataset = data.load("tiny_withsecrettest", data_dir=tmp_path)
    assert dataset.test is dataset.validation
    assert labels_of(dataset.test) == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("name", ["tiny_withnames", "tiny_withothernames"])
def test_images_are_called_by_their_files(tmp_path, name):
    dataset = data.load(name, data_dir=tmp_path)
    expected = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 3)]
    assert sorted(names_of(dataset.validation)) == expected


def test_a_feature_that_is_no_text_is_no_name(tmp_path):
    dataset = data.load("tiny_withnamesofanotherkind", data_dir=tmp_path)
    assert all(", record " in name for name in names_of(dataset.train))


def test_the_blacklist_of_imagenet_excludes_images_of_tfds(tmp_path):
    validation = data.load("tiny_withnames", data_dir=tmp_path).validation
    inputs = keras.Input((8, 8, 3))
    network = keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(inputs)))
    (tmp_path / "blacklist.txt").write_text("2\n49999\n")
    report = evaluate(network, validation, exclude=tmp_path / "blacklist.txt")
    assert (report.images, report.excluded, report.exclusions_listed) == (2, 1, 2)
    assert report.confusion.sum(axis=1).tolist() == [1, 0, 1]


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_prepared_folder_of_either_format(tmp_path, file_format):
    builder = TinyWithTest(data_dir=tmp_path, file_format=file_format)
    builder.download_and_prepare()
    dataset = data.load(builder.data_dir)
    assert dataset.name == "tiny_with_test/1.0.0"
    assert labels_of(dataset.test) == [0, 1, 2, 0, 1, 2, 0]
    with pytest.raises(InputError, match=r"skip_broken=True is for folders of images and"):
        data.load(builder.data_dir, skip_broken=True)
    heights = [
        len(data.decode_image(tf.constant(e["image"])))
        for e in dataset.test.examples().as_numpy_iterator()
    ]
    assert heights == [6, 7, 8, 9, 10, 11, 12]
    assert len(set(names_of(dataset.test))) == 7


def test_other_format_is_refused(tmp_path):
    builder = TinyWithTrain(data_dir=tmp_path, file_format="parquet")
    builder.download_and_prepare()
    with pytest.raises(InputError, match="stored as parquet; expected tfrecord or array_record"):
        data.load(builder.data_dir)


def test_unknown_name(tmp_path):
    with pytest.raises(InputError) as caught:
        data.load("mnits")
    message = str(caught.value)
    assert message.startswith("Unknown dataset, and no folder either: 'mnits'. Did you mean mnist")
    assert "Known: digits, mnist" in message and len(message) < 400
    with pytest.raises(InputError, match="Did you mean digits?"):
        data.load("digts")
    with pytest.raises(InputError, match="TFDS dataset 'mnist:9.9.9': .*9.9.9"):
        data.load("mnist:9.9.9", data_dir=tmp_path)


def test_unfit_datasets(tmp_path):
    with pytest.raises(InputError, match="has no split named train; its splits: test"):
        data.load("tiny_withouttrain", data_dir=tmp_path)
    with pytest.raises(InputError, match="not one of images with class labels; .*: image, label"):
        data.load("tiny_withoutlabels", data_dir=tmp_path)


def test_preparation_that_fails(tmp_path):
    with pytest.raises(InputError) as caught:
        data.load("tiny_offline", data_dir=tmp_path)
    message = str(caught.value)
    assert f"is not in {tmp_path}" in message and "\n" not in message
    assert "could not be prepared: the host cannot be resolved. Check the network" in message


def test_without_tensorflow_datasets(monkeypatch):
    real = importlib.import_module

    def absent(name, *rest):
        if name == "tensorflow_datasets":
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtra, match=r"'cifar10' is neither 'digits' nor a folder. .*train"):
        data.load("cifar10")
