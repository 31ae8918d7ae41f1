"""From an interpreter back into main, and from there into another one."""


def spin_in(id: int) -> None:
    import isles

    isles.Interpreter(id).exec("while True: pass")


def through_main(id: int) -> None:
    import isles

    isles.get_main().call(spin_in, id)
