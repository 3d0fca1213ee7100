"""Random bytes that nobody can tell from chance, or continue, who does not hold their key."""

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20


def open_stream(key: bytes) -> CipherContext:
    """Begin the stream of random bytes that a key of 256 bits stands for: ChaCha20 of RFC 8439."""
    return Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
