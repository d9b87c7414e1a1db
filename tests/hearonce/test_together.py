"""Calls of several threads made as one."""

import threading

import pytest

from hearonce.together import Together


def test_what_comes_meanwhile_is_done_at_once_and_a_fault_stays_with_its_cause():
    calls, begun, go_on = [], threading.Event(), threading.Event()

    def doubled(numbers):
        calls.append(list(numbers))
        if not begun.is_set():
            begun.set()
            assert go_on.wait(30)
        if -1 in numbers:
            raise ValueError("no negative numbers")
        return [2 * number for number in numbers]

    together, answers = Together(doubled, most=4), {}

    def ask(number):
        try:
            answers[number] = together(number)
        except ValueError as error:
            answers[number] = str(error)

    first = threading.Thread(target=ask, args=(0,))
    first.start()
    assert begun.wait(30)
    rest = [threading.Thread(target=ask, args=(number,)) for number in (-1, *range(1, 6))]
    for thread in rest:
        thread.start()
    while len(together._waiting) < len(rest):
        pass
    go_on.set()
    for thread in (first, *rest):
        thread.join(30)
    assert answers == {0: 0, -1: "no negative numbers", **{number: 2 * number for number in range(1, 6)}}
    assert calls[0] == [0] and {len(call) for call in calls} <= {1, 2, 3, 4} and len(calls[1]) == 4
    with pytest.raises(ValueError, match="no negative"):
        together(-1)
