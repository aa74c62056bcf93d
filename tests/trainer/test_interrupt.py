"""Ctrl-C and SIGTERM in one trial: raised between steps, never lost in a callback."""

from __future__ import annotations

import os
import signal
import threading
import weakref

import pytest

from trainer.interrupt import ctrl_c_between_steps


class Thing:
    """Something that a weak reference can point to."""


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_is_raised_by_the_next_check_and_not_before():
    with ctrl_c_between_steps() as check:
        check()
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_a_callback_whose_errors_python_ignores_is_not_lost():
    thing = Thing()
    reference = weakref.ref(thing, lambda gone: press_ctrl_c())
    with ctrl_c_between_steps() as check:
        del thing
        assert reference() is None
        with pytest.raises(KeyboardInterrupt):
            check()


def test_a_second_ctrl_c_is_raised_at_once():
    with ctrl_c_between_steps():
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()


def test_sigterm_is_raised_by_the_next_check_however_often_it_comes():
    with ctrl_c_between_steps() as check:
        check()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            check()
        with pytest.raises(KeyboardInterrupt):  # a person who does not want to wait
            press_ctrl_c()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_is_heeded_where_ctrl_c_is_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ctrl_c_between_steps() as check:
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_changes():
    seen = []

    def enter():
        with ctrl_c_between_steps() as check:
            check()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ctrl_c_between_steps() as check:
            press_ctrl_c()
            check()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
