import errno
import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, strategies as st

from diag_messages import DATA, PORT_ID, Datagram, Player, body, done, error, header, message
from sockwatch.collect import netlink
from sockwatch.collect.netlink import Expected, Request, Window, read_dump, refused
from sockwatch.errors import DumpError

SEQUENCE = 0x2A2A_2A2A
EXPECTED = Expected(kind=DATA, sequence=SEQUENCE, port_id=PORT_ID)
REQUEST = Request(kind=DATA, payload=bytes(60))
DUMP_INTR = netlink.NLM_F_MULTI | netlink.NLM_F_DUMP_INTR


def window(*parts: bytes) -> Window:
    return Window.of(np.frombuffer(b"".join(parts), np.uint32), EXPECTED)


def data(size: int, flags: int = netlink.NLM_F_MULTI) -> bytes:
    return message(bytes(size), SEQUENCE, flags=flags)


def play(*datagrams: Callable[[int], Datagram]) -> list[tuple[int, bool]]:
    """How many messages each window of a dump had, and whether it was interrupted."""
    player = Player(lambda _family, _states, _extensions, sequence: [d(sequence) for d in datagrams])
    return [(len(w.starts), w.interrupted) for w in read_dump(player, REQUEST)]


def test_boundaries_are_found_whatever_the_lengths() -> None:
    sizes = [72, 108, 73, 72, 300, 75]
    found = window(*map(data, sizes))
    assert (found.lengths - 16).tolist() == sizes
    assert [(int(at) * 4) for at in found.starts] == [0, 88, 212, 304, 392, 708]
    assert not found.last


@given(st.lists(st.integers(0, 90), min_size=1, max_size=9), st.booleans())
def test_the_walk_and_the_search_agree(sizes: Sequence[int], ends: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    parts = [data(size) for size in sizes] + [done(SEQUENCE)] * ends
    words = np.frombuffer(b"".join(parts), np.uint32)
    searched, walked = Window.of(words, EXPECTED), Window._walk(words, EXPECTED)  # noqa: SLF001 - the slow twin
    assert searched.starts.tolist() == walked.starts.tolist()
    assert searched.lengths.tolist() == walked.lengths.tolist()
    assert (searched.last, searched.interrupted) == (walked.last, walked.interrupted) == (ends, False)


def test_data_that_looks_like_a_header_is_data() -> None:
    fake = header(88, DATA, netlink.NLM_F_MULTI, SEQUENCE) + done(SEQUENCE)
    found = window(data(72), message(bytes(24) + fake, SEQUENCE), data(72), done(SEQUENCE))
    assert found.lengths.tolist() == [88, 76, 88]
    assert found.last


def test_an_interrupted_dump_says_so() -> None:
    assert window(data(72), data(72, DUMP_INTR)).interrupted
    assert window(data(72), done(SEQUENCE, flags=DUMP_INTR)).interrupted
    assert not window(data(72), done(SEQUENCE)).interrupted


@pytest.mark.parametrize(
    "parts",
    [
        [data(72), message(bytes(72), SEQUENCE + 1)],
        [message(bytes(72), SEQUENCE + 1)],
        [data(72), header(88, DATA, 2, SEQUENCE, PORT_ID + 1) + bytes(72)],
    ],
)
def test_an_answer_to_another_request_is_refused(parts: Sequence[bytes]) -> None:
    with pytest.raises(DumpError, match="another request"):
        window(*parts)


@pytest.mark.parametrize("length", [0, 1, 15, 89, 0xFFFF_FFFF])
def test_a_length_that_cannot_be_is_refused(length: int) -> None:
    with pytest.raises(DumpError, match=f"a message of {length} bytes where 88 are left"):
        window(data(72), header(length, DATA, 2, SEQUENCE) + bytes(72))


def test_a_message_of_unknown_type_is_refused() -> None:
    with pytest.raises(DumpError, match="unknown type 25"):
        window(data(72), message(bytes(72), SEQUENCE, kind=25))


def test_padding_messages_are_skipped() -> None:
    assert len(window(data(72), message(b"", SEQUENCE, kind=netlink.NLMSG_NOOP), data(72)).starts) == 2


def test_a_message_after_the_end_is_refused() -> None:
    with pytest.raises(DumpError, match="follows the end"):
        window(data(72), done(SEQUENCE), data(72))


def test_an_error_among_the_data_is_the_kernels_answer() -> None:
    with pytest.raises(DumpError, match="too busy") as caught:
        window(data(72), error(SEQUENCE, errno.EBUSY), data(72))
    assert caught.value.errno == errno.EBUSY


def test_an_end_with_an_error_number_is_no_end() -> None:
    with pytest.raises(DumpError) as caught:
        window(data(72), done(SEQUENCE, error=errno.ENOMEM))
    assert caught.value.errno == errno.ENOMEM


@pytest.mark.parametrize("number", [-1, 4096, 2**31])
def test_an_error_number_that_cannot_be_is_refused(number: int) -> None:
    body = struct.pack("=I", -number & 0xFFFF_FFFF)
    with pytest.raises(DumpError, match=f"error number {number}") as caught:
        window(message(body, SEQUENCE, kind=netlink.NLMSG_ERROR))
    assert caught.value.errno is None


def test_an_end_without_an_error_number_is_refused() -> None:
    with pytest.raises(DumpError, match="without its error number"):
        window(data(72), message(b"", SEQUENCE, kind=netlink.NLMSG_DONE))


def test_an_acknowledgement_is_no_dump() -> None:
    with pytest.raises(DumpError, match="acknowledgement"):
        window(error(SEQUENCE, 0))


def test_a_dump_ends_with_its_last_message() -> None:
    many = [lambda seq: message(bytes(72), seq) * 300] * 100
    found = play(*many, lambda seq: message(bytes(72), seq) + done(seq), lambda _: OSError(errno.EIO, "read too far"))
    assert sum(count for count, _ in found) == 30_001
    assert len(found) > 1


def test_the_end_may_come_alone() -> None:
    assert play(lambda seq: message(bytes(72), seq), done) == [(1, False)]


def test_a_dump_that_stops_early_is_refused() -> None:
    with pytest.raises(DumpError, match="without saying that it is complete"):
        play(lambda seq: message(bytes(72), seq))


def test_a_dump_without_any_answer_is_refused() -> None:
    with pytest.raises(DumpError, match="without saying that it is complete"):
        play()


def test_an_end_that_hides_in_the_middle_is_found() -> None:
    with pytest.raises(DumpError, match="follows the end"):
        play(lambda seq: message(bytes(72), seq) + done(seq) + message(bytes(72), seq))


def test_what_other_processes_send_is_ignored() -> None:
    assert play(
        lambda seq: message(bytes(72), seq),
        lambda seq: (done(seq), 1234),
        lambda _: (b"noise", 1234),
        lambda seq: message(bytes(72), seq) + done(seq),
    ) == [(2, False)]


@pytest.mark.parametrize("size", [netlink.CHUNK + 4, 281])
def test_a_datagram_that_was_cut_off_is_refused(size: int) -> None:
    with pytest.raises(DumpError, match=f"a datagram of {size} bytes"):
        play(lambda _: bytes(size), done)


def test_every_cut_of_a_dump_is_refused() -> None:
    whole = 3 * message(body(), SEQUENCE) + done(SEQUENCE)
    for cut in range(len(whole)):

        def datagram(sequence: int, cut: int = cut) -> bytes:
            return (3 * message(body(), sequence) + done(sequence))[:cut]

        with pytest.raises(DumpError):
            play(datagram)


@given(st.integers(0, 107 * 3 + 20), st.binary(min_size=1, max_size=8))
def test_damaged_bytes_are_a_dump_or_an_error(at: int, damage: bytes) -> None:
    def datagram(sequence: int) -> bytes:
        whole = bytearray(3 * message(body(), sequence) + done(sequence))
        whole[at : at + len(damage)] = damage
        return bytes(whole)

    with suppress(DumpError):
        assert sum(count for count, _ in play(datagram)) <= 3


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, "seccomp"),
        (errno.EACCES, "seccomp"),
        (errno.ENOENT, "inet_diag and tcp_diag"),
        (errno.EPROTONOSUPPORT, "inet_diag and tcp_diag"),
        (errno.EAFNOSUPPORT, "RestrictAddressFamilies"),
        (errno.ENOBUFS, "too busy"),
        (errno.EBUSY, "too busy"),
        (errno.EINVAL, "Invalid argument"),
    ],
)
def test_a_refusal_says_which_one(number: int, words: str) -> None:
    said = refused(OSError(number, os.strerror(number)))
    assert (words in str(said), said.errno, "\n" in str(said)) == (True, number, False)


def test_an_error_of_recv_is_a_dump_error() -> None:
    with pytest.raises(DumpError) as caught:
        play(lambda seq: message(bytes(72), seq), lambda _: OSError(errno.ENOBUFS, "No buffer space available"))
    assert caught.value.errno == errno.ENOBUFS


def test_the_request_is_a_dump() -> None:
    sent: list[bytes] = []

    class Recorder(Player):
        def send(self, message: bytes) -> None:
            sent.append(message)
            super().send(message)

    player = Recorder(lambda *_: [done(_[-1])])
    request = Request(kind=netlink.SOCK_DIAG_BY_FAMILY, payload=b"payload" * 8)
    assert [len(w.starts) for w in read_dump(player, request)] == [0]
    length, kind, flags, _, port_id = struct.unpack_from("=IHHII", sent[0])
    assert (length, kind, flags, port_id) == (72, 20, 0x301, PORT_ID)
    assert sent[0][16:] == b"payload" * 8
