"""What tests call in other interpreters by reference: importable, and without pytest."""

import os
import threading
import time

import __main__
import isles

dropping = []


def call_main(name, *args):
    return getattr(__main__, name)(*args)


def there_and_back(ids):
    """Call through the interpreters `ids`, one inside the other; the ids as each saw itself."""
    here = isles.get_current().id
    if not ids:
        return [here]
    return [here, *isles.Interpreter(ids[0]).call(there_and_back, ids[1:])]


def dive(ids, depth):
    """Go on through both until it is refused; the depth and what refused it."""
    try:
        return isles.Interpreter(ids[depth % 2]).call(dive, ids, depth + 1)
    except RecursionError as error:
        return depth, str(error)


def wait_for_file(path):
    while not os.path.exists(path):
        time.sleep(0.002)


def ask_running(id):
    return isles.Interpreter(id).is_running()


def own_thread_calls(ids):
    """From a thread that this interpreter starts: call through others and back."""
    out = []

    def run():
        try:
            out.append(there_and_back(ids))
        except BaseException as error:
            out.append(repr(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return out[0]


def close_it(id):
    try:
        isles.Interpreter(id).close()
    except isles.InterpreterError as error:
        return type(error).__name__
    return None


def own_thread_closes(through, id):
    out = []

    def run():
        out.append(isles.Interpreter(through).call(close_it, id))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return out[0]


def call_main_add(value):
    return __main__.me + value


def refused_close(id):
    """In another interpreter: the exception that close() of `id` raises."""
    interp = isles.Interpreter(id)
    try:
        interp.close()
    except isles.InterpreterError as error:
        return type(error).__name__, str(error)
    return None


def close_oneself():
    return refused_close(isles.get_current().id)


def close_through(id, back):
    return isles.Interpreter(id).call(refused_close, back)


def run_until(read, ready):
    os.write(ready, b"x")
    os.read(read, 1)


def make_one():
    return isles.create()


def make_some(how):
    made = isles.create()
    return {
        "tuple": (made, made),
        "list": [made],
        "dict": {"made": made},
        "nested": ((1, (made,)), [made]),
    }[how]


def make_and_fail():
    return isles.create(), lambda: 0, threading.Lock()


def keep(*args, **kwargs):
    __main__.kept = (args, kwargs)


def forget():
    del __main__.kept


def give_back(value):
    return value


def try_main_from_own_thread():
    out = []

    def enter():
        try:
            isles.get_main().call(int)
        except isles.InterpreterBusyError as error:
            out.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return out


def same(interp):
    """Whether the object is this interpreter's one for itself."""
    return interp is isles.get_current() and interp is isles.Interpreter(interp.id)


def drop():
    dropping.clear()
