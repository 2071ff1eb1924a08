"""What the machine is, and which GPUs a child can see."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys

import pytest

from bench.errors import BenchError, UsageError
from bench.power import machine
from bench.power.gpus import Gpu, Mig
from tests.power.conftest import MakeGpus
from tests.power.simulated import SimulatedGpu

A, B, C = "GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"
MIG = "MIG-1234"


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Gpu(u, "NVIDIA H100", [], {}) for u in (A, B)]
    found.append(Gpu(C, "NVIDIA H100", [Mig(MIG, 1, 0)], {}))
    monkeypatch.setattr(machine, "gpus", lambda: found)


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

    monkeypatch.setattr(machine, "gpus", hangs)
    assert machine.visible_gpus({"CUDA_VISIBLE_DEVICES": " "}) == []
    with pytest.raises(BenchError, match="not answered"):
        machine.visible_gpus({})
    assert machine.facts()["gpus"] is None
    assert "not answered" in machine.facts()["gpus_unknown"]


def test_ordinals_among_divided_boards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    divided = Gpu(A, "NVIDIA A100", [Mig(MIG, 1, 0)], {"mig_mode": True})
    monkeypatch.setattr(machine, "gpus", lambda: [divided, Gpu(B, "NVIDIA A100", [], {})])
    with pytest.raises(UsageError, match="rules of its own"):
        machine.visible_gpus({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert machine.visible_gpus({"CUDA_VISIBLE_DEVICES": A}) == [A]
    monkeypatch.setattr(machine, "gpus", lambda: [divided])
    assert machine.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == [A]


def test_ordinals_beside_a_gpu_that_can_not_be_opened_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = {"unopened": ["GPU 0: NVML 4: Insufficient Permissions"]}
    monkeypatch.setattr(machine, "gpus", lambda: [Gpu(A, "NVIDIA A100", [], facts)])
    with pytest.raises(UsageError, match="can't be opened"):
        machine.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"})
    assert machine.visible_gpus({"CUDA_VISIBLE_DEVICES": A}) == [A]


def test_ordinals_of_unlike_gpus_are_refused_unless_their_order_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [Gpu(A, "NVIDIA T4", [], {}), Gpu(B, "NVIDIA H100", [], {})]
    monkeypatch.setattr(machine, "gpus", lambda: found)
    with pytest.raises(UsageError, match="by speed"):
        machine.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"})
    told = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert machine.visible_gpus(told) == [A]


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
