"""Ctrl-C in processes of their own, whose main thread waits in a call of the C library that no signal ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_runs import until

from engine.interrupt import Interrupt

LONG = 60.0
GRACE = {"hears": 600.0, "hears late": 600.0}
"""Seconds that the main thread gets, for scripts that leave by themselves; the others get `SHORT`."""
SHORT, SPAN = 0.2, 1.5
"""`SPAN`: seconds after which what should not happen has not happened."""

DEAF = """
import ctypes, pathlib, signal, sys, threading, time
from engine import interrupt as module

folder, how, module.GRACE = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
if how == "slow words":
    module.LAST_WORDS = 0.2
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

def last_words():
    (folder / "last").write_text("said")
    time.sleep(600 if how == "slow words" else 0)

def open_when_both_have_come():
    while not interrupt._counter.twice:
        time.sleep(0.01)
    library.pthread_mutex_unlock(lock)

library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(256)
with module.Interrupt(signal.SIGINT, signal.SIGTERM, patient=how == "patient", last_words=last_words) as interrupt:
    (folder / "begun").touch()
    if how == "hears":
        while not interrupt.came:
            time.sleep(0.01)
        (folder / "heard").touch()
        try:
            time.sleep(600)
        finally:
            (folder / "orderly").touch()
    if how == "hears late":
        threading.Thread(target=open_when_both_have_come, daemon=True).start()
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)
    time.sleep(600)
"""


def start(folder: Path, how: str = "deaf") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF, str(folder), how, str(GRACE.get(how, SHORT))], stderr=subprocess.PIPE, text=True
    )
    until((folder / "begun").exists)
    time.sleep(0.2)  # for the call to begin
    return process


def test_a_second_ctrl_c_ends_a_process_that_cannot_hear_it(tmp_path: Path) -> None:
    process = start(tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG) == 130 and process.communicate()[1] == ""
    assert (tmp_path / "last").read_text() == "said"


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_one_ctrl_c_never_ends_it(tmp_path: Path, numbers: tuple[signal.Signals, ...]) -> None:
    process = start(tmp_path)
    try:
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.1)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(SPAN)
        assert not (tmp_path / "last").exists()
    finally:
        process.kill()
        process.communicate()


def test_a_patient_one_stays_however_often_it_is_asked(tmp_path: Path) -> None:
    process = start(tmp_path, "patient")
    try:
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(SPAN)
    finally:
        process.kill()
        process.communicate()


def test_who_hears_leaves_in_order(tmp_path: Path) -> None:
    process = start(tmp_path, "hears")
    process.send_signal(signal.SIGINT)
    until((tmp_path / "heard").exists)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=LONG)[1]
    assert "KeyboardInterrupt" in said  # nobody catches it in this script
    assert (tmp_path / "orderly").exists() and not (tmp_path / "last").exists()


def test_two_that_come_within_one_call_are_two(tmp_path: Path) -> None:
    """The main thread hears once, when the call has ended."""
    process = start(tmp_path, "hears late")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=LONG)[1] and not (tmp_path / "last").exists()


def test_last_words_that_take_for_ever_are_not_waited_for(tmp_path: Path) -> None:
    process = start(tmp_path, "slow words")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG) == 130 and process.communicate()[1] == ""


def test_handlers_and_the_channel_of_signals_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    for _ in range(2):  # what is left behind would be found the second time
        with Interrupt(last_words=lambda: None) as interrupt:
            ours = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(ours)
            assert ours != -1 and signal.getsignal(signal.SIGINT) == interrupt._catch
            signal.raise_signal(signal.SIGINT)
            assert interrupt.came
    assert signal.getsignal(signal.SIGINT) == before and signal.set_wakeup_fd(-1) == -1


async def test_the_channel_of_an_event_loop_stays_its_own() -> None:
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, heard.set)
    with Interrupt(last_words=lambda: None):
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.wait_for(heard.wait(), LONG)
    heard.clear()
    signal.raise_signal(signal.SIGUSR1)
    await asyncio.wait_for(heard.wait(), LONG)
    loop.remove_signal_handler(signal.SIGUSR1)
    with Interrupt(last_words=lambda: None):  # and one that is begun later
        loop.add_signal_handler(signal.SIGUSR1, heard.set)
    heard.clear()
    signal.raise_signal(signal.SIGUSR1)
    await asyncio.wait_for(heard.wait(), LONG)
    loop.remove_signal_handler(signal.SIGUSR1)
