def spin(count):
    """Take a short time, in bytecode."""
    for _ in range(count):
        pass
