"""The node as its board controller meters it: `ipmitool dcmi power reading`. Level M2.

    ipmitool                                          this machine's controller
    ipmitool:every=10 -I lanplus -H bmc -U me -E      another way to it; the password is in
                                                      IPMI_PASSWORD, never in the arguments

A controller may leave out what has supplies of its own, such as trays of GPUs. How exact it is, the
standard (DCMI 1.5) does not say. Options are in `bench.power.probes._slow`. It has not met a real
controller yet.
"""

from __future__ import annotations

import re
from typing import Any

from bench.power.probes import Reading
from bench.power.probes._slow import Options, SlowMeter, Unread, quantity
from bench.power.probes.command import Program, words

_READING = re.compile(r"Instantaneous power reading\s*:\s*(\d+)\s*Watts", re.IGNORECASE)
_STATE = re.compile(r"Power reading state is\s*:\s*(\w+)", re.IGNORECASE)
_MENDING = {
    "can't be started": "sudo apt install ipmitool",
    "No such file": "sudo modprobe -a ipmi_si ipmi_devintf",
    "Permission denied": "sudo chmod a+rw /dev/ipmi0",
}


class Probe(SlowMeter):
    usage = "ipmitool"
    about = "the board controller (BMC)"
    needs_more = False
    defaults = Options("ipmitool", every_s=2.0)

    def open(self, what: str) -> None:
        more = words(what)
        if any(word.startswith("-P") for word in more):
            raise Unread(
                "-P shows the password to everybody", "export IPMI_PASSWORD=…, and -E in its place"
            )
        self.program = Program(["ipmitool", *more, "dcmi", "power", "reading"])

    def ask(self) -> Reading:
        try:
            text, t_ns = self.program.output(self.options.timeout_s)
        except Unread as error:
            mending = (fix for said, fix in _MENDING.items() if said in error.reason)
            raise Unread(error.reason, next(mending, error.fix)) from None
        return self.reading(t_ns, **watts(text))

    def facts(self) -> dict[str, Any]:
        return {"may_omit": "what has supplies of its own, such as trays of GPUs"}

    def shut(self) -> None:
        self.program.kill()


def watts(text: str) -> dict[str, float]:
    """`power_w` in what `ipmitool dcmi power reading` prints."""
    state = _STATE.search(text)
    if state and state[1].lower() != "activated":
        raise Unread(f"the controller's power reading is {state[1]}")
    found = _READING.search(text)
    if found is None:
        raise Unread("the controller gives no power reading (DCMI)", "ipmitool dcmi discover")
    if int(found[1]) == 0:
        raise Unread("the controller says 0 W, which no running machine draws")
    return quantity(float(found[1]), "W")
