"""A client's secrets of one round, and what of them it shares so that the sum can be opened.

Every pair of clients agrees on a key that blinds what both send and cancels in the sum; every
client blinds once more by a seed of its own (Bonawitz et al. 2017). Of a client that drops out the
others' shares give the key, of all others the seed, and of nobody both.

Key agreement (P-384), sealing (Fernet) and Shamir's shares are those of Flower's SecAgg+. Its
random numbers are not used: `pseudo_rand_gen` folds its seed to 32 bits for numpy's MT19937, so
that whoever reads a blinded update tries all of them.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives.asymmetric import ec

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.flower_internals import (
    bytes_to_public_key,
    combine_shares,
    create_shares,
    decrypt,
    encrypt,
    generate_key_pairs,
    generate_shared_key,
    public_key_to_bytes,
)

SEED_BYTES = 32
_KEY_BYTES = 48
"""Of a private key of P-384, as a number."""

_CURVE = ec.SECP384R1()
_LONGEST_KEY = 500
"""Bytes of a public key as text; P-384 has 215."""


@dataclass(frozen=True)
class PublicKeys:
    """What a client tells everybody: PEM text of P-384.

    Attributes:
        blinding: every pair's blinding comes of these.
        sealing: shares are sealed for the holder of the other half.
    """

    blinding: str
    sealing: str


@dataclass(frozen=True)
class Secrets:
    """What a client tells nobody; new in every try of every round, never used twice.

    Attributes:
        seed: 32 bytes, what it blinds by alone.
        blinding: 48 bytes, the private half of PublicKeys.blinding.
        sealing: 48 bytes, that of PublicKeys.sealing.
    """

    seed: bytes
    blinding: bytes
    sealing: bytes

    @property
    def public(self) -> PublicKeys:
        """Gives the halves that everybody may know."""
        return PublicKeys(public_half(self.blinding), public_half(self.sealing))


def new_secrets() -> Secrets:
    """Draw a round's secrets from the operating system."""
    blinding, sealing = (generate_key_pairs()[0] for _ in range(2))
    return Secrets(os.urandom(SEED_BYTES), _number_of(blinding), _number_of(sealing))


def threshold(clients: int) -> int:
    """Say how many of so many clients must answer to the end: up to a third may drop out.

    It is more than half, so that no set of clients can open with two halves of the others what
    belongs to one. Of two clients both are needed, of three two.
    """
    return clients - clients // 3


def fewest_in_sum(clients: int) -> int:
    """Say of how many the sum must be where so many have begun it: see `threshold`, and three.

    Of two, each computes the other's update. Where a third one failed they are no longer hidden, so
    that one who makes another fail would read the rest.
    """
    return max(threshold(clients), min(3, clients))


def public_half(private: bytes) -> str:
    """Compute the public key, PEM text, of a private one of 48 bytes."""
    return public_key_to_bytes(_private_key(private).public_key()).decode("ascii")


def agreed_secret(private: bytes, public: str) -> bytes:
    """Compute the 32 bytes that the holders of two keys have in common.

    Args:
        private: 48 bytes, one's own.
        public: PEM text, the other's.

    Raises:
        WireError: that is no public key of P-384.
    """
    return hashlib.sha256(generate_shared_key(_private_key(private), checked_key(public))).digest()


def stream_key(secret: bytes, *names: object) -> bytes:
    """Derive the key of one stream, which no other use of the same secret shares.

    Args:
        secret: 32 bytes.
        names: what the stream is for: run, round, clients.
    """
    return hashlib.sha256(b"fedklpr blinding\0" + secret + _told_apart(names)).digest()


def seed_mark(seed: bytes) -> str:
    """Name a seed, so that whoever puts it together from shares knows that it is the one."""
    return hashlib.sha256(b"fedklpr seed\0" + seed).hexdigest()


def make_shares(secrets: Secrets, clients: int) -> list[tuple[bytes, bytes]]:
    """Divide seed and blinding key among clients, one's own share among them.

    Args:
        secrets: whose.
        clients: how many, >= 2.

    Returns:
        A pair (of the seed, of the key) for each client; `threshold(clients)` of them give the
        secret, fewer say nothing of it.
    """
    needed = threshold(clients)
    divided = (create_shares(of, needed, clients) for of in (secrets.seed, secrets.blinding))
    return list(zip(*divided, strict=True))


def joined_secret(shares: Sequence[bytes], size: int) -> bytes:
    """Put a secret together again.

    Args:
        shares: exactly as many as it was divided to need.
        size: its bytes, which are known.

    Raises:
        WireError: they do not belong together.
    """
    try:
        secret = combine_shares(list(shares))
    except (ValueError, IndexError) as error:
        raise WireError(f"shares of a secret do not belong together: {error}") from error
    if len(secret) != size:
        raise WireError(f"shares of a secret: expected {size} bytes of it, got {len(secret)}")
    return secret


def joined_seed(shares: Sequence[bytes], mark: str) -> bytes:
    """Put a client's seed together from shares, and hold it against its mark.

    Raises:
        WireError: it is not that seed.
    """
    seed = joined_secret(shares, SEED_BYTES)
    if seed_mark(seed) != mark:
        raise WireError("shares of a seed give another one than its client named: one is wrong")
    return seed


def joined_blinding_key(shares: Sequence[bytes], public: str) -> bytes:
    """Put a client's private blinding key together, and hold it against its public half.

    Raises:
        WireError: it is not that key.
    """
    private = joined_secret(shares, _KEY_BYTES)
    if public_half(private) != public:
        raise WireError("shares of a key give another one than its client told: one is wrong")
    return private


def seal(shares: tuple[bytes, bytes], private: bytes, public: str, *names: object) -> str:
    """Encrypt a pair of shares for one other client.

    Args:
        shares: of the seed, of the blinding key.
        private: one's own sealing key.
        public: the other's.
        names: run, round, from whom, for whom: what is sealed fits nowhere else.
    """
    first, second = shares
    content = _context(names) + len(first).to_bytes(2, "big") + first + second
    return encrypt(_sealing_key(private, public), content).decode("ascii")


def unseal(sealed: str, private: bytes, public: str, *names: object) -> tuple[bytes, bytes]:
    """Decrypt what `seal` gave; the names are the same, in the same order.

    Raises:
        WireError: it was sealed by somebody else, for somebody else, or in another round.
    """
    try:
        content = decrypt(_sealing_key(private, public), sealed.encode("ascii"))
    except (InvalidToken, UnicodeEncodeError) as error:
        raise WireError("a sealed share does not open: it is damaged, or not for here") from error
    context = _context(names)
    if content[: len(context)] != context or len(content) < len(context) + 2:
        raise WireError("a sealed share is of another round, or of other clients")
    rest = content[len(context) + 2 :]
    middle = int.from_bytes(content[len(context) : len(context) + 2], "big")
    return rest[:middle], rest[middle:]


def _sealing_key(private: bytes, public: str) -> bytes:
    return generate_shared_key(_private_key(private), checked_key(public))


def _number_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_numbers().private_value.to_bytes(_KEY_BYTES, "big")


def _private_key(private: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        return ec.derive_private_key(int.from_bytes(private, "big"), _CURVE)
    except ValueError as error:
        raise WireError(f"a private key: expected a number of P-384, {error}") from error


def checked_key(public: str) -> ec.EllipticCurvePublicKey:
    """Read a public key, PEM text from the network.

    Raises:
        WireError: that is no public key of P-384.
    """
    try:
        if len(public) > _LONGEST_KEY:
            raise ValueError(f"{len(public)} characters")
        key = bytes_to_public_key(public.encode("ascii"))
    except Exception as error:  # whatever a PEM reader makes of foreign bytes
        raise WireError(f"a public key: expected PEM of P-384, got {public!r:.60}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise WireError(f"a public key: expected one of P-384, got {public!r:.60}")
    return key


def _context(names: Sequence[object]) -> bytes:
    return hashlib.sha256(b"fedklpr share\0" + _told_apart(names)).digest()


def _told_apart(names: Sequence[object]) -> bytes:
    """Names as bytes that no other names give: each behind its length."""
    words = [str(name).encode() for name in names]
    return b"".join(len(word).to_bytes(4, "big") + word for word in words)
