"""The image of a kernel: content-addressed like a node image, and whole in spite of its trimming."""

from __future__ import annotations

import os

import pytest

from harness.errors import MissingCapability
from harness.image import kernel, store
from harness.image.kernel import KernelSpec
from harness.image.progress import Display
from harness.image.spec import ImageSpec


def test_its_key_tells_it_from_a_node_image() -> None:
    assert KernelSpec().key.startswith("kernel-trixie-")
    assert KernelSpec("sid").key != KernelSpec().key != ImageSpec().key


def test_its_key_follows_the_trimming(monkeypatch: pytest.MonkeyPatch) -> None:
    before = KernelSpec().key
    monkeypatch.setattr(kernel, "_FINISH", "true")
    assert KernelSpec().key != before


def test_a_processor_without_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    uname = os.uname()
    fields = (*uname[:4], "riscv64")
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(fields))
    with pytest.raises(MissingCapability, match="no User-Mode Linux for processors of the kind riscv64"):
        KernelSpec()


@pytest.mark.skipif(os.uname().machine not in kernel.MACHINES, reason="no User-Mode Linux for this processor")
def test_the_modules_that_stay_have_all_that_they_need() -> None:
    with Display("kernel image") as display:
        rootfs = store.ensure(KernelSpec(), display) / "rootfs"
    modules = rootfs / kernel.MODULES / kernel.release(rootfs)
    needed = (modules / "modules.dep").read_text().replace(":", " ").split()
    there = {str(path.relative_to(modules)) for path in modules.rglob("*.ko")}
    assert set(needed) == there
    names = {path.rpartition("/")[2] for path in there}
    assert {"ip_vs.ko", "ip_vs_mh.ko", "sch_netem.ko", "8021q.ko", "vrf.ko", "veth.ko", "ipip.ko"} <= names
    assert os.access(rootfs / kernel.PROGRAM, os.X_OK)
