"""Bytes in messages: their order, their amount, and what happens if a message is lost."""

from whyserve.delivery.frames import Kind, encode
from whyserve.delivery.redis_stream import CLOSED, WINDOW, Message, Stream

BEAT = encode(Kind.BEAT, {})
BIG = encode(Kind.REPLY, {}, bytes(3 * WINDOW + 7))


def ends() -> tuple[Stream, Stream]:
    return Stream("a" * 32, 1), Stream("b" * 32, 1)


def read(stream, message):
    return stream.read(Message.parse(message))


def test_frames_that_are_written_together_are_one_message():
    one, two = ends()
    assert one.next() is None
    one.write(BEAT)
    one.write(BEAT)
    assert [frame.kind for frame in read(two, one.next())] == [Kind.BEAT] * 2
    assert one.next() is None


def test_no_more_than_a_window_is_on_its_way():
    """The other end says how much it has read, at the latest after half a window."""
    one, two = ends()
    one.write(BIG)
    found, sizes = [], []
    while message := one.next():
        sizes.append(len(message))
        assert one.next() is None
        found += read(two, message)
        if answer := two.next():
            assert read(one, answer) == []
    assert found[0].blocks[1] == bytes(3 * WINDOW + 7)
    assert len(found) == 1
    assert max(sizes) < WINDOW + 100
    assert len(sizes) == 4


def test_a_lost_message_and_a_second_one_end_the_connection():
    one, two = ends()
    messages = []
    for _ in range(3):
        one.write(BEAT)
        messages.append(one.next())
    assert len(read(two, messages[0])) == 1
    assert read(two, messages[0]) is None
    assert read(two, messages[2]) is None
    assert len(read(two, messages[1])) == 1
    assert two.read(Message("a" * 32, 1, CLOSED, 0)) is None


def test_an_empty_message_can_be_asked_for():
    one, two = ends()
    assert read(two, one.next(even_empty=True)) == []
    one.write(BEAT)
    assert len(read(two, one.next())) == 1
