"""The digest is SHA-256 whoever makes it, and little of it loads no OpenSSL."""

import hashlib
import subprocess
import sys

import pytest

from regrow.digest import LITTLE, sha256


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000, LITTLE, LITTLE + 1])
def test_it_is_sha256(size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(min(size, 4096))) * (size // 4096 or 1)
    made = sha256(size)
    made.update(data[:10])
    made.update(memoryview(data)[10:])
    assert made.hexdigest() == hashlib.sha256(data).hexdigest()
    assert made.digest() == hashlib.sha256(data).digest()


def test_a_little_loads_no_openssl() -> None:
    code = "import sys; from regrow.digest import sha256; sha256(9); print('_hashlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
