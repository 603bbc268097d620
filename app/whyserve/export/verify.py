"""Check exported models without serving them: `whyserve verify`, and the checks of older builds during an export."""

from collections.abc import Callable
from pathlib import Path

from whyserve.errors import InvalidInput, ModelFault
from whyserve.model.arrays import check_arrays, read_npz
from whyserve.model.builds import BUILDS, ORIGINAL, builds_of
from whyserve.model.manifest import MANIFEST_FILE, Manifest, read_checked, read_manifest
from whyserve.model.reasons import read_languages
from whyserve.model.spec import ONNX_FILE
from whyserve.model.text import text_readers
from whyserve.onnx.graph_check import check_graph


def check_files(build: Path) -> Manifest:
    """Check the manifest of a build and the digests of all its files. Raises ModelFault, which names the file."""
    manifest, _ = read_manifest(build)
    read_checked(build, ONNX_FILE, manifest)
    for name in manifest.spec.source_files:
        read_checked(build / ORIGINAL, name, manifest, f"{build.name}/{ORIGINAL}")
    return manifest


def check_content(build: Path) -> None:
    """Like `check_files`, and check what the files contain. Frameworks are not needed. Raises ModelFault."""
    manifest = check_files(build)
    spec, original = manifest.spec, build / ORIGINAL
    check_graph((build / ONNX_FILE).read_bytes(), f"{build.name}/{ONNX_FILE}", ml=spec.framework == "onnx")
    text_readers(spec, lambda name: (original / name).read_bytes())
    read_languages(spec, lambda name: (original / name).read_bytes())
    for file in spec.explain.files.values():
        try:
            check_arrays(spec, read_npz((original / file).read_bytes()))
        except InvalidInput as error:
            raise ModelFault(f"{build.name}/{ORIGINAL}/{file}: {error.message}") from error


def verify_all(artifacts: Path, say: Callable[[str], None]) -> int:
    """Check every build of every model, with a line for each model and each fault. Returns the exit code: 0 or 1.

    Raises ModelFault if the folder has no model.
    """
    names = {path.name for path in artifacts.glob("*") if path.is_symlink() or (path / MANIFEST_FILE).is_file()}
    if not names:
        raise ModelFault(f"{artifacts}: no exported model; give the folder that `whyserve export` writes")
    faults = 0
    for name in sorted(names):
        found = builds_of(artifacts, name)
        for build in found:
            try:
                check_content(build)
            except ModelFault as fault:
                faults += 1
                what = "current build" if build == found[0] else "older build"
                say(f"{name}: {what} {build} is faulty: {fault.message}")
        say(f"{name}: {len(found)} build{'s' if len(found) > 1 else ''} checked")
    say(f"{len(names)} models, {faults} faulty builds in {artifacts / BUILDS}")
    return 1 if faults else 0
