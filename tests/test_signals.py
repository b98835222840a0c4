"""A signal is noted, a second Ctrl-C is not, and whoever listened before listens again."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from gantoolkit.signals import Stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with Stop() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.name == number.name
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    assert stop


def test_a_second_ctrl_c_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), Stop():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_hears_nothing_and_changes_nothing() -> None:
    before, heard = signal.getsignal(signal.SIGINT), []

    def listen() -> None:
        with Stop() as stop:
            heard.append(bool(stop))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [False] and signal.getsignal(signal.SIGINT) is before
