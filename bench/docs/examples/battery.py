"""A probe of one's own: what a laptop draws while it is unplugged.

bench measure --probe ./battery.py -- python train.py
bench measure --probe ./battery.py:/sys/class/power_supply/BAT1 -- python train.py
"""

import time
from pathlib import Path

from bench.power.probes import Domain, Reading, Refusal


class Probe:
    kinds = ("node",)

    def __init__(self, tree, argument=""):
        self.battery = Path(argument or "/sys/class/power_supply/BAT0")

    def why_not(self):
        if not (self.battery / "power_now").is_file():
            return Refusal(f"{self.battery} tells no power")
        if (self.battery / "status").read_text().strip() != "Discharging":
            return Refusal("the battery is charged", "unplug the charger")
        return None

    def domains(self):
        return [Domain("node:battery", "node", "battery", level="M2", gain=0.05)]

    def read(self):
        try:
            watts = int((self.battery / "power_now").read_text()) / 1e6
        except (OSError, ValueError) as error:
            return [Reading("node:battery", time.monotonic_ns(), error=str(error))]
        return [Reading("node:battery", time.monotonic_ns(), power_w=watts)]

    def close(self):
        return None
