"""How much memory another process holds, on every system, by what the system itself offers."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from flawscope.flows import environment


def resident_mb(pid: int) -> float | None:
    """Return a process's resident memory in MB; None where it is gone or the system does not tell."""
    if sys.platform.startswith("linux"):
        return _from_proc(pid)
    if sys.platform == "win32":
        return _from_windows(pid)
    return _from_ps(pid)


def physical_mb() -> float | None:
    """Return this machine's memory in MB, or None where the system does not tell."""
    if sys.platform == "win32":
        return _physical_windows()
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (ValueError, OSError):
        return None


def own_peak_mb() -> float | None:
    """Return the highest memory that this process has held, in MB, or None where the system does not tell."""
    known = environment.peak_memory_mb()
    return known if known is not None else _peak_windows()


def _from_proc(pid: int) -> float | None:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _from_ps(pid: int) -> float | None:
    try:
        found = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=5
        )
        return int(found.stdout.strip()) / 1024
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


class _Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of psapi.h."""

    _fields_ = (
        ("cb", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("working_set", ctypes.c_size_t),
        ("quota_peak_paged", ctypes.c_size_t),
        ("quota_paged", ctypes.c_size_t),
        ("quota_peak_nonpaged", ctypes.c_size_t),
        ("quota_nonpaged", ctypes.c_size_t),
        ("pagefile", ctypes.c_size_t),
        ("peak_pagefile", ctypes.c_size_t),
    )


class _Status(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("total_pagefile", ctypes.c_uint64),
        ("available_pagefile", ctypes.c_uint64),
        ("total_virtual", ctypes.c_uint64),
        ("available_virtual", ctypes.c_uint64),
        ("available_extended", ctypes.c_uint64),
    )


def _from_windows(pid: int) -> float | None:
    if sys.platform != "win32":
        return None
    query = 0x0400 | 0x0010  # PROCESS_QUERY_INFORMATION | PROCESS_VM_READ
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(query, False, pid)
    if not handle:
        return None
    try:
        counters = _Counters(cb=ctypes.sizeof(_Counters))
        told = kernel.K32GetProcessMemoryInfo(ctypes.c_void_p(handle), ctypes.byref(counters), counters.cb)
        return counters.working_set / (1 << 20) if told else None
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))


def _peak_windows() -> float | None:
    if sys.platform != "win32":
        return None
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    counters = _Counters(cb=ctypes.sizeof(_Counters))
    handle = ctypes.c_void_p(kernel.GetCurrentProcess())
    told = kernel.K32GetProcessMemoryInfo(handle, ctypes.byref(counters), counters.cb)
    return counters.peak_working_set / (1 << 20) if told else None


def _physical_windows() -> float | None:
    if sys.platform != "win32":
        return None
    status = _Status(length=ctypes.sizeof(_Status))
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    return status.total / (1 << 20) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None
