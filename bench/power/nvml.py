"""NVML through `pynvml`: its loading and layouts, with calls that fill memory made once, and what
the return codes mean.

Calls go straight to the driver's library: pynvml's functions make memory anew at each call, and
raise where a missing reading is an answer. A function that an old driver lacks is code 13, as
there. pynvml is imported when a driver's library is there: it takes longer than all else that the
sampler does before it is ready.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from ctypes import byref, c_uint, c_ulonglong
from types import ModuleType
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
NO_PERMISSION, INSUFFICIENT_SIZE, FUNCTION_NOT_FOUND, GPU_IS_LOST, RESET_REQUIRED = 4, 7, 13, 15, 16
STRANGE_TYPE = -1  # not NVML's: the value of a field has a type that its header does not know
SM = 1  # the clock of the multiprocessors

_LOOK = "nvidia-smi -q   and   sudo dmesg | grep -e NVRM -e Xid"
_CODES: dict[int, tuple[str, str | None]] = {  # what it means, and the command that mends it
    STRANGE_TYPE: ("a value of unknown type", "update bench"),
    1: ("Uninitialized: the driver was unloaded or reloaded", "run bench again"),
    2: ("Invalid Argument", None),
    3: ("Not Supported", None),
    NO_PERMISSION: (
        "Insufficient Permissions",
        "sudo chmod a+rw /dev/nvidia*   (or add yourself to the group that owns them)",
    ),
    6: ("Not Found", None),
    INSUFFICIENT_SIZE: ("Insufficient Size", None),
    8: ("Insufficient External Power: a power cable of the card is loose", _LOOK),
    9: ("Driver Not Loaded", "sudo modprobe nvidia && nvidia-smi"),
    10: ("Timeout", _LOOK),
    11: ("Interrupt Request Issue", _LOOK),
    12: ("Library Not Found", "install the NVIDIA driver; in a container: docker run --gpus all …"),
    FUNCTION_NOT_FOUND: ("Function Not Found: this driver is too old", "update the NVIDIA driver"),
    14: ("Corrupted infoROM", _LOOK),
    GPU_IS_LOST: ("GPU is lost: it fell off the bus", "sudo dmesg | grep Xid   and   sudo reboot"),
    RESET_REQUIRED: (
        "GPU requires reset",
        "sudo nvidia-smi --gpu-reset   (nothing may be using the GPU)",
    ),
    17: (
        "The operating system has blocked the request",
        "ls -l /dev/nvidia*   (in a container: docker run --gpus all …)",
    ),
    18: (
        "Driver/library version mismatch",
        "sudo reboot   (the driver was updated and the kernel still runs the old one)",
    ),
    20: ("Insufficient Memory", None),
    999: ("Unknown Error", _LOOK),
}


def explain(code: int) -> str:
    """`NVML 15: GPU is lost: …`"""
    return f"NVML {code}: {_CODES.get(code, ('an error that bench does not know', None))[0]}"


def mending(code: int) -> str | None:
    """The command that may mend it."""
    return _CODES.get(code, (None, _LOOK))[1]


class NvmlError(Exception):
    """NVML answered with a code other than 0."""

    def __init__(self, code: int) -> None:
        super().__init__(explain(code))
        self.code = code


# --- calls

Handle = ctypes.c_void_p
Answer = tuple[float | None, int]  # a value, or the code for why there is none


def _pynvml() -> Any:
    """pynvml without `ctypes.util`, from which it takes a function that it does not call: that
    would bring subprocess, tempfile and random along, which take longer than pynvml itself."""
    name = "ctypes.util"
    if name not in sys.modules:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].find_library = None  # type: ignore[attr-defined]
    try:
        import pynvml
    finally:
        if sys.modules[name].find_library is None:
            del sys.modules[name]
    return pynvml


class Library:
    """The driver's library, opened. OSError where there is none, NvmlError where it won't work."""

    def __init__(self) -> None:
        ctypes.CDLL(LIBRARY)
        self.layouts = pynvml = _pynvml()
        try:
            pynvml.nvmlInitWithFlags(0)
        except pynvml.NVMLError as error:
            raise NvmlError(error.value) from None
        self._library = pynvml.nvmlLib

    def close(self) -> None:
        self("nvmlShutdown")

    def function(self, name: str) -> Callable[..., int]:
        """A function that gives a code; one that gives 13 where the library has none."""
        return getattr(self._library, name, lambda *_: FUNCTION_NOT_FOUND)

    def __call__(self, name: str, *arguments: Any) -> None:
        code = self.function(name)(*arguments)
        if code:
            raise NvmlError(code)

    def number(self, name: str, *arguments: Any, kind: Any = c_uint) -> int:
        """What a function puts where its last argument points."""
        number = kind()
        self(name, *arguments, byref(number))
        return number.value

    def pair(self, name: str, *arguments: Any) -> tuple[int, int]:
        first, second = c_uint(), c_uint()
        self(name, *arguments, byref(first), byref(second))
        return first.value, second.value

    def text(self, name: str, *arguments: Any) -> str:
        room = ctypes.create_string_buffer(96)
        self(name, *arguments, room, c_uint(len(room)))
        return room.value.decode(errors="replace")

    def handle(self, name: str, *arguments: Any) -> Handle:
        handle = Handle()
        self(name, *arguments, byref(handle))
        return handle

    def structure(self, kind: Any, name: str, *arguments: Any) -> Any:
        filled = kind()
        self(name, *arguments, byref(filled))
        return filled


class Fields:
    """Several fields of a device in one call; the memory for the answer is made once."""

    def __init__(self, library: Library, handle: Handle, numbers: Sequence[int]) -> None:
        self._handle = handle
        self._values = (library.layouts.c_nvmlFieldValue_t * len(numbers))()
        for value, number in zip(self._values, numbers, strict=True):
            value.fieldId = number  # scope 0: the board
        self._each = [(value, value.value) for value in self._values]
        self._ask = library.function("nvmlDeviceGetFieldValues")

    def __call__(self) -> list[Answer]:
        code = self._ask(self._handle, len(self._values), self._values)
        if code:
            return [(None, code)] * len(self._values)
        return [_answer(value, union) for value, union in self._each]


def _answer(value: Any, union: Any) -> Answer:
    if value.nvmlReturn:
        return None, value.nvmlReturn
    if value.valueType >= len(_TYPES):
        return None, STRANGE_TYPE
    return getattr(union, _TYPES[value.valueType]), 0


# Of a field's value, in the order of nvmlValueType_t.
_TYPES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class Number:
    """A function of a device that gives one number; the memory for it is made once."""

    def __init__(
        self, library: Library, name: str, handle: Handle, *arguments: int, kind: Any = c_uint
    ) -> None:
        self._ask, self._number = library.function(name), kind()
        self._arguments = (handle, *arguments, byref(self._number))

    def __call__(self) -> list[Answer]:
        code = self._ask(*self._arguments)
        return [(None, code) if code else (self._number.value, 0)]

    def given(self) -> float | None:
        """The number, or None."""
        return self()[0][0]


class OldProcessInfo(ctypes.Structure):
    """16 bytes: before `_v2`; pynvml no longer has it."""

    _fields_ = [("pid", c_uint), ("memory", c_ulonglong)]


class Processes:
    """The compute processes on a device; asked again with more room where there was too little."""

    _NAMES = (
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetComputeRunningProcesses",
    )
    _TRIES = 6

    def __init__(self, library: Library, handle: Handle) -> None:
        self._handle = handle
        new = library.layouts.c_nvmlProcessInfo_v2_t
        kinds = (new, new, OldProcessInfo)
        asks = [(library.function(n), k) for n, k in zip(self._NAMES, kinds, strict=True)]
        there = (a for a in asks if a[0](handle, byref(c_uint(0)), None) != FUNCTION_NOT_FOUND)
        self._ask, self._kind = next(there, asks[-1])
        self._room = (self._kind * 16)()

    def __call__(self) -> list[int]:
        """Their process ids; NvmlError."""
        for _ in range(self._TRIES):
            count = c_uint(len(self._room))
            code = self._ask(self._handle, byref(count), self._room)
            if code == INSUFFICIENT_SIZE:  # they may be more by now than it says
                self._room = (self._kind * max(2 * len(self._room), count.value + 8))()
            elif code:
                raise NvmlError(code)
            else:
                return [self._room[i].pid for i in range(min(count.value, len(self._room)))]
        raise NvmlError(INSUFFICIENT_SIZE)
