def write(a, b, check):
    return 0
