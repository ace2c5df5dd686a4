"""The one thing that pyproject.toml cannot say: the wheel holds the top-level manifest."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MANIFEST = "weights_manifest.json"


class BuildWithManifest(build_py):
    """Copies the manifest into the package; an editable install reads the one beside it."""

    def run(self) -> None:
        """Build as usual, then add the manifest."""
        super().run()
        if not self.editable_mode:
            self.copy_file(MANIFEST, self._copied())

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return the files that the build makes."""
        return [*super().get_outputs(include_bytecode), self._copied()]

    def get_source_files(self) -> list[str]:
        """Return the files that a source distribution needs."""
        return [*super().get_source_files(), MANIFEST]

    def _copied(self) -> str:
        """Return where the copy goes."""
        return str(Path(self.build_lib, "keras_inception", MANIFEST))


setup(cmdclass={"build_py": BuildWithManifest})
