"""What the machine is, and which GPUs a child can see."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import account, run
from bench.errors import BenchError, UsageError
from bench.power import gpus, machine
from bench.power.energy import Series
from bench.power.gpus import Gpu, Listing, Mig
from bench.power.probes import Domain
from bench.power.trace import Trace
from tests.power.conftest import MakeGpus
from tests.power.simulated import FOREVER, SimulatedGpu

A, B, C = "GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"
MIG = "MIG-1234"


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Gpu(u, "NVIDIA H100", [], {}) for u in (A, B)]
    found.append(Gpu(C, "NVIDIA H100", [Mig(MIG, 1, 0)], {}))
    monkeypatch.setattr(gpus, "listed", lambda: found)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("text", "visible"),
    [
        (None, [A, B, C]),
        ("", []),
        ("0", [A]),
        ("2,0", [C, A]),
        (" 1 , 2 ", [B, C]),
        ("0,7,1", [A]),  # the first that is no device ends the list
        ("-1", []),
        ("0,-1,1", [A]),
        ("-2", []),
        ("NoDevFiles", []),
        ("none", []),
        ("all", []),
        ("²", []),
        ("   ", []),
        (",0", []),
        ("0,,1", [A]),
        (A, [A]),
        ("GPU-c", [C]),
        (f"GPU-c,{A}", [C, A]),
        ("GPU-unknown,0", []),
        (MIG, [C]),
        ("MIG-12", [C]),
        (f"MIG-{C}/1/0", [C]),
        (f"MIG-{C}/2/0", []),
        (f"MIG-{A}/1/0", []),
        ("MIG-unknown", []),
    ],
)
def test_visible_gpus(text: str | None, visible: list[str]) -> None:
    environ = {} if text is None else {"CUDA_VISIBLE_DEVICES": text}
    assert machine.visible_gpus(environ) == visible


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("GPU-aa", "2 device"),
        ("GPU-", "3 device"),
        ("MIG-", "1 device"),
        ("0,0", "twice"),
        (f"{A},GPU-aaa", "twice"),
        (f"{MIG},MIG-{C}/1/0", "twice"),
        (f"0,{A}", "mixes"),
        (f"{A},{MIG}", "mixes"),
        (f"{MIG},1", "mixes"),
        ("1x", "no plain number"),
        ("0x1", "no plain number"),
        ("0 1", "no plain number"),
        ("01", "no plain number"),
        ("+1", "no plain number"),
        ("-0", "no plain number"),
        (A.lower(), "upper and lower case"),
        (A.upper(), "upper and lower case"),
    ],
)
def test_what_can_not_be_told_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"can't tell which GPUs .*{why}"):
        machine.visible_gpus({"CUDA_VISIBLE_DEVICES": text})


@pytest.mark.usefixtures("three")
def test_variables_of_other_makers_do_not_matter() -> None:
    others = {"ROCR_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "1", "GPU_DEVICE_ORDINAL": "0"}
    assert machine.visible_gpus(others) == [A, B, C]


def test_an_empty_list_does_not_ask_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs() -> list[Gpu]:
        raise BenchError("the NVIDIA driver has not answered")

    monkeypatch.setattr(gpus, "listed", hangs)
    assert machine.visible_gpus({"CUDA_VISIBLE_DEVICES": " "}) == []
    with pytest.raises(BenchError, match="not answered"):
        machine.visible_gpus({})
    assert machine.facts()["gpus"] is None
    assert "not answered" in machine.facts()["gpus_unknown"]


def test_ordinals_among_divided_boards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    divided = Gpu(A, "NVIDIA A100", [Mig(MIG, 1, 0)], {"mig_mode": True})
    monkeypatch.setattr(gpus, "listed", lambda: [divided, Gpu(B, "NVIDIA A100", [], {})])
    with pytest.raises(UsageError, match="rules of its own"):
        machine.visible_gpus({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert machine.visible_gpus({"CUDA_VISIBLE_DEVICES": A}) == [A]
    monkeypatch.setattr(gpus, "listed", lambda: [divided])
    assert machine.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == [A]


def test_ordinals_beside_a_gpu_that_can_not_be_opened_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = {"unopened": ["GPU 0: NVML 4: Insufficient Permissions"]}
    monkeypatch.setattr(gpus, "listed", lambda: [Gpu(A, "NVIDIA A100", [], facts)])
    with pytest.raises(UsageError, match="can't be opened"):
        machine.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"})
    assert machine.visible_gpus({"CUDA_VISIBLE_DEVICES": A}) == [A]


def test_ordinals_of_unlike_gpus_are_refused_unless_their_order_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [Gpu(A, "NVIDIA T4", [], {}), Gpu(B, "NVIDIA H100", [], {})]
    monkeypatch.setattr(gpus, "listed", lambda: found)
    with pytest.raises(UsageError, match="by speed"):
        machine.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"})
    told = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert machine.visible_gpus(told) == [A]


@pytest.mark.parametrize(
    ("text", "named"),
    [(None, True), ("0", True), (A, True), ("", False), (" ", False), ("-1", False)],
)
def test_a_gpu_that_nvml_does_not_show_is_unmetered(
    monkeypatch: pytest.MonkeyPatch, text: str | None, named: bool
) -> None:
    monkeypatch.setattr(gpus, "listing", lambda: Listing([], ["a GPU of AMD"]))
    environ = {} if text is None else {"CUDA_VISIBLE_DEVICES": text}
    found = [(w.id, w.rankable) for w in machine.unmetered(environ)]
    assert found == [("gpu-unmetered", False)] * named
    assert machine.hardware_class([], len(found)).startswith("1 x unknown GPU" if named else "CPU")


def test_a_gpu_that_does_not_open_is_unmetered_unless_others_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = "GPU 1: has not answered for 10 s"
    found = Listing([Gpu(A, "NVIDIA H100", [], {"unopened": [late]})], [late])
    monkeypatch.setattr(gpus, "listing", lambda: found)
    (warn,) = machine.unmetered({})
    assert late in warn.message
    assert machine.unmetered({"CUDA_VISIBLE_DEVICES": A}) == []
    with pytest.raises(UsageError, match=f"{B} may be one of them"):
        machine.visible_gpus({"CUDA_VISIBLE_DEVICES": f"{A},{B}"})


def test_a_run_hides_what_can_not_be_read_or_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_torch_has_cuda", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "listing", lambda: Listing([], ["a GPU of AMD"]))
    assert run._device("auto", 1, 1) == ("cpu", {"CUDA_VISIBLE_DEVICES": ""}, [], [])
    one = Gpu(A, "NVIDIA H100", [], {})
    monkeypatch.setattr(gpus, "listing", lambda: Listing([one], ["GPU 1: late"]))
    device, _, visible, notes = run._device("auto", 1, 1)
    assert (device, visible, [n.id for n in notes]) == ("cuda", [A], ["gpu-unmetered"])


@pytest.mark.parametrize(
    ("domain", "warns"),
    [
        (Domain("cpu:package-0", "cpu", "EPYC", "M1", 0.1), ["gpu-unmetered"]),
        (Domain("gpu:command", "gpu", "a program", "M2", 0.1), []),
        (Domain("node:shelly", "node", "a plug", "M2", 0.1), []),
    ],
)
def test_a_meter_that_was_asked_for_stands_in(
    monkeypatch: pytest.MonkeyPatch, domain: Domain, warns: list[str]
) -> None:
    monkeypatch.setattr(gpus, "listing", lambda: Listing([], ["a GPU of AMD"]))
    start = account.begin([], None, notes=machine.unmetered({}))
    t_ns = np.arange(0, 10**10, 10**8)
    empty = np.full(len(t_ns), np.nan)
    series = Series(t_ns, empty + 1, t_ns / 1e8, empty, empty, empty)
    trace = Trace([domain], {domain.name: series})
    events = [{"event": f"window_{e}", "t_ns": t * 10**9} for e, t in (("start", 1), ("stop", 9))]
    found = account.metered(start, events, trace)["warnings"]
    assert [w.id for w in found if w.id == "gpu-unmetered"] == warns


@pytest.mark.parametrize(
    ("vendor", "kind", "node", "maker"),
    [
        ("0x10de", "0x030200", "nvidiactl", "NVIDIA"),
        ("0x10de", "0x030200", "null", None),  # shown on the bus of a container without it
        ("0x1002", "0x038000", "kfd", "AMD"),
        ("0x8086", "0x030000", "nvidiactl", None),
    ],
)
def test_gpus_without_a_driver_of_ours(
    tmp_path: Path, vendor: str, kind: str, node: str, maker: str | None
) -> None:
    device = tmp_path / "bus/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(vendor + "\n")
    (device / "class").write_text(kind + "\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / node).touch()
    found = gpus.usable(str(tmp_path / "bus"), str(tmp_path / "dev"))
    assert found == ([maker] if maker else [])


LISTS = """
import time
from bench.power import gpus
gpus.usable = lambda: {usable}
gpus._PATIENCE_S = 0.3
for _ in range(2):
    found, began_s = gpus.listing(), time.monotonic()
print(len(found.gpus), *found.unread, time.monotonic() - began_s < 0.1, sep="|")
"""


def listing(usable: list[str]) -> list[str]:
    """What another process finds, and whether it asks the driver only once."""
    code = [sys.executable, "-c", LISTS.format(usable=usable)]
    return (
        subprocess.run(code, capture_output=True, text=True, check=True).stdout.strip().split("|")
    )


@pytest.mark.compiler
def test_a_driver_that_fails_hides_no_gpu(make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu(), init_code=18)
    found = listing(["AMD"])
    assert found[0] == "0"
    assert found[1:3] == [
        "a GPU of AMD, which bench can't read",
        "the GPUs of NVIDIA, whose driver gives an error "
        "(NVML 18: Driver/library version mismatch)",
    ]
    make_gpus(SimulatedGpu(), init_code=9)
    assert listing([]) == ["0", "True"]


@pytest.mark.compiler
def test_gpus_are_asked_once_and_none_that_hangs_is_forgotten(make_gpus: MakeGpus) -> None:
    make_gpus(SimulatedGpu(), SimulatedGpu(faults=[("hang", -99, FOREVER)]))
    assert listing([]) == ["1", "GPU 1: has not answered for 0.3 s", "True"]


def test_a_library_that_is_not_there_hides_no_gpu() -> None:
    assert listing(["NVIDIA"])[:2] == [
        "0", "a GPU of NVIDIA, whose driver's library (libnvidia-ml.so.1) can't be loaded"
    ]  # fmt: skip
    assert listing([]) == ["0", "True"]


@pytest.mark.usefixtures("three")
def test_hardware_class() -> None:
    assert machine.hardware_class([A, C]) == "2 x NVIDIA H100"
    assert machine.hardware_class([]).startswith("CPU ")


@pytest.mark.compiler
def test_the_driver_is_asked(make_gpus: MakeGpus) -> None:
    gpus = make_gpus(SimulatedGpu(), SimulatedGpu(limit_w=350))
    code = (
        "import json; from bench.power import machine as m; seen = m.visible_gpus({});"
        "print(json.dumps([m.facts(), seen, m.hardware_class(seen)]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    facts, visible, name = json.loads(run.stdout)
    assert visible == [g.uuid for g in gpus.gpus]
    assert name == "2 x NVIDIA H100 80GB HBM3"
    assert facts["gpus"][1]["power_limit_w"] == 350
    assert facts["gpus"][1]["driver"] == "570.86.15"


def test_facts_name_neither_host_nor_user() -> None:
    text = json.dumps(machine.facts())
    assert "cpu" in text
    for name in (platform.node(), getpass.getuser()):
        assert f'"{name}"' not in text


def test_facts_are_sound() -> None:
    facts = machine.facts()
    assert 1 <= facts["cores"] <= facts["processors"] <= (os.cpu_count() or 1)
    assert facts["memory_gb"] > 0.1


def test_versions_come_without_importing_anything_heavy() -> None:
    code = (
        "import sys; from bench.power import machine; assert 'numpy' in machine.software();"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
