"""What a builder made travels as one bundle: it runs the same elsewhere, and nothing else gets in."""

import hashlib
import io
import json
import random
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tuner import registry
from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.core.measurement import Status
from tuner.core.protocol import Protocol
from tuner.devices.emulator.device import EmulatedDevice
from tuner.engine.building.build_stage import Built
from tuner.engine.building.bundle import BundleRefused, bundle_name, pack, unpack
from tuner.engine.candidate.domain import companions_of
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.tuning.campaign import default_device

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("32x32x32")


def computes(device, artifact, workload) -> bool:
    """Whether an artifact is right on a workload, run in this process."""
    inputs = GEMM.inputs(workload, 1)
    outputs = {t.name: np.zeros(t.shape, t.dtype) for t in GEMM.signature(workload) if t.name not in inputs}
    executable = device.load(artifact)
    executable.bind({**inputs, **outputs})
    executable.run()
    reference = GEMM.reference(workload, inputs)
    tolerance = GEMM.tolerance(workload, inputs, reference)
    return all(
        (np.abs(executable.read(name) - expected) <= tolerance[name]).all()
        for name, expected in reference.items()
    )


@pytest.fixture(scope="module")
def workshop():
    with Workshop(default_device(), Protocol(threads=1), seed=3) as made:
        yield made


@pytest.mark.parametrize("name", ["cpp_packed", "tir_tiled", "numpy"])
def test_an_unpacked_bundle_runs_as_what_was_packed(workshop, tmp_path, name):
    kernel = registry.kernel(name)
    config = kernel.space(WORKLOAD, workshop.target).sample(random.Random(0))
    companions = companions_of(kernel, WORKLOAD, workshop.target)[:2]
    built = workshop.build(kernel, WORKLOAD, config, companions)
    assert built.status is Status.OK, built.error
    data = pack(built)
    assert pack(built) == data
    built.discard()  # nothing of the first place is there any more
    elsewhere = unpack(data, tmp_path / "elsewhere", bundle_name(data))
    assert elsewhere.artifact.digest == built.artifact.digest
    assert elsewhere.artifact.toolchain == built.artifact.toolchain
    assert [w for w, _ in elsewhere.companions] == list(companions)
    assert (elsewhere.constant, elsewhere.special) == (built.constant, built.special)
    for workload, artifact in ((WORKLOAD, elsewhere.artifact), *elsewhere.companions):
        assert artifact.path.is_relative_to(tmp_path)
        assert computes(workshop.device, artifact, workload)
    elsewhere.discard()
    assert not (tmp_path / "elsewhere").exists()


def test_a_cuda_kernel_is_emulated_from_its_bundle(tmp_path):
    device, kernel = EmulatedDevice(), registry.kernel("cuda_naive")
    config = kernel.space(WORKLOAD, device.target).sample(random.Random(0))
    folder = tmp_path / "built"
    folder.mkdir()
    artifact = CudaEmulatedBuilder().build(
        kernel.lower(WORKLOAD, config, device.target), device.target, folder
    )
    data = pack(Built(Status.OK, artifact=artifact, folder=folder))
    shutil.rmtree(folder)
    elsewhere = unpack(data, tmp_path / "elsewhere").artifact
    assert elsewhere.launch == artifact.launch
    assert computes(device, elsewhere, WORKLOAD)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path) -> bytes:
    """A bundle of a record that any process can read; built by hand, since nothing is run here."""
    from tuner.core.artifact import Artifact, Toolchain

    folder = tmp_path / "record"
    (folder / "0").mkdir(parents=True)
    path = folder / "0" / "callable.json"
    path.write_text("{}")
    artifact = Artifact(path, "callable", "module:function", (), "d", Toolchain("python", "3", ()))
    return pack(Built(Status.OK, artifact=artifact, folder=folder, build_s=0.5))


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def packed_again(contents: dict[str, bytes], change=None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if change is not None:
                change(member)
            tar.addfile(member, io.BytesIO(content[: member.size]))
    return buffer.getvalue()


def renamed(data: bytes, name: str) -> bytes:
    """The same bundle with its file of another name, in the manifest too: only the name can be refused."""
    contents = members(data)
    manifest = json.loads(contents.pop("manifest.json"))
    (content,) = contents.values()
    manifest["files"] = {name: next(iter(manifest["files"].values()))}
    manifest["artifact"]["path"] = name
    return packed_again({"manifest.json": json.dumps(manifest).encode(), name: content})


def link(member: tarfile.TarInfo) -> None:
    if member.name.startswith("files/"):
        member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0


def test_the_bundle_that_is_changed_below_is_a_good_one(bundle, tmp_path):
    again = packed_again(members(bundle))
    built = unpack(again, tmp_path / "new", bundle_name(bundle))
    assert (built.build_s, built.artifact.path.read_text()) == (0.5, "{}")
    assert unpack(renamed(bundle, "files/other.json"), tmp_path / "other").artifact.path.name == "other.json"
    with pytest.raises(FileExistsError):
        unpack(bundle, tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("files/../../escaped.json", "would lie elsewhere"),
        ("/files/escaped.json", "would lie elsewhere"),
        ("files/./a.json", "would lie elsewhere"),
        ("files", "would lie elsewhere"),
        ("escaped.json", "would lie elsewhere"),
        ("files/..\\a.json", "would lie elsewhere"),
    ],
)
def test_no_file_gets_out_of_the_folder(bundle, tmp_path, name, reason):
    with pytest.raises(BundleRefused, match=reason):
        unpack(renamed(bundle, name), tmp_path / "deep" / "new")
    assert not (tmp_path / "deep").exists()
    assert not list(tmp_path.rglob("escaped*"))


def test_tampering_is_refused(bundle, tmp_path):
    good = members(bundle)
    file = next(name for name in good if name.startswith("files/"))
    changed = {**good, file: b"[]"}
    manifest = json.loads(good["manifest.json"])
    manifest["files"][file] = [2, hashlib.sha256(b"[]").hexdigest()]
    consistent = {"manifest.json": json.dumps(manifest).encode(), file: b"[]"}
    lacking = {"manifest.json": good["manifest.json"]}
    bad_artifact = {**good, "manifest.json": good["manifest.json"].replace(b'"threads":1', b'"threads":"1"')}
    cases = [
        (packed_again(changed), None, "is not what was packed"),
        (packed_again(consistent), bundle_name(bundle), "which was asked for"),
        (packed_again({**good, "files/more": b""}), None, "that its manifest does not"),
        (packed_again(lacking), None, "lacks"),
        (packed_again(bad_artifact), None, "threads cannot be"),
        (packed_again(good, link), None, "no plain file"),
        (packed_again({file: good[file], **good}), None, "does not begin with"),
        (bundle[:900], None, "cut short|damaged"),
        (b"nothing", None, "no bundle"),
        (b"", None, "no bundle"),
    ]
    for data, name, reason in cases:
        with pytest.raises(BundleRefused, match=reason):
            unpack(data, tmp_path / "new", name)
        assert not (tmp_path / "new").exists()


def test_what_is_no_plain_file_is_not_packed(tmp_path):
    from tuner.core.artifact import Artifact, Toolchain

    folder = tmp_path / "built"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    artifact = Artifact(folder / "link", "callable", "m:f", (), "d", Toolchain("python", "3", ()))
    with pytest.raises(BundleRefused, match="link is no plain file"):
        pack(Built(Status.OK, artifact=artifact, folder=folder))
    (folder / "link").unlink()
    outside = Path(tmp_path / "outside.json")
    outside.write_text("{}")
    artifact = Artifact(outside, "callable", "m:f", (), "d", Toolchain("python", "3", ()))
    with pytest.raises(BundleRefused, match="does not lie in"):
        pack(Built(Status.OK, artifact=artifact, folder=folder))
    with pytest.raises(BundleRefused, match="a build that failed"):
        pack(Built(Status.BUILD_ERROR, "no"))
