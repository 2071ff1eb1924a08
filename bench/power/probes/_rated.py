"""What an estimate of processor and memory power is made from.

In Python, since the sampler can't start before it has been read, and parsing takes longer.
"""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    value: float
    source: str


IDLE_SHARE = Fact(
    0.21,
    "Cloud Carbon Footprint, methodology: AWS servers draw 0.74 W idle and 3.5 W full per vCPU",
)
W_PER_PROCESSOR = Fact(
    3.5, "Cloud Carbon Footprint, methodology: average of AWS servers at full load, per vCPU"
)
W_PER_GB = Fact(
    0.392, "Cloud Carbon Footprint, methodology: mean of Crucial's and Micron's figures"
)

# TDP, W, and logical processors of one package, from the vendors' product pages, by a part of the
# name that the kernel gives.
CPUS: dict[str, tuple[float, int]] = {
    "EPYC 7302": (155, 32),
    "EPYC 7402": (180, 48),
    "EPYC 7413": (180, 48),
    "EPYC 7443": (200, 48),
    "EPYC 7502": (180, 64),
    "EPYC 7513": (200, 64),
    "EPYC 7543": (225, 64),
    "EPYC 7702": (200, 128),
    "EPYC 7713": (225, 128),
    "EPYC 7742": (225, 128),
    "EPYC 7763": (280, 128),
    "EPYC 9354": (280, 64),
    "EPYC 9554": (360, 128),
    "EPYC 9654": (360, 192),
    "Xeon(R) CPU E5-2680 v4": (120, 28),
    "Xeon(R) CPU E5-2690 v4": (135, 28),
    "Xeon(R) CPU E5-2698 v4": (135, 40),
    "Xeon(R) Gold 6148": (150, 40),
    "Xeon(R) Gold 6230": (125, 40),
    "Xeon(R) Gold 6248": (150, 40),
    "Xeon(R) Platinum 8168": (205, 48),
    "Xeon(R) Platinum 8280": (205, 56),
    "Xeon(R) Platinum 8358": (250, 64),
    "Xeon(R) Platinum 8380": (270, 80),
    "Xeon(R) Platinum 8468": (350, 96),
    "Xeon(R) Platinum 8480": (350, 112),
    "Core(TM) i5-12400": (65, 12),
    "Core(TM) i7-8700K": (95, 12),
    "Core(TM) i7-12700K": (125, 20),
    "Core(TM) i7-13700K": (125, 24),
    "Core(TM) i9-9900K": (95, 16),
    "Core(TM) i9-12900K": (125, 24),
    "Core(TM) i9-13900K": (125, 32),
    "Ryzen 5 5600X": (65, 12),
    "Ryzen 7 5800X": (105, 16),
    "Ryzen 9 5900X": (105, 24),
    "Ryzen 9 5950X": (105, 32),
    "Ryzen 9 7950X": (170, 32),
    "Ryzen Threadripper 3970X": (280, 64),
    "Ryzen Threadripper 3990X": (280, 128),
    "Ryzen Threadripper PRO 5995WX": (280, 128),
}
