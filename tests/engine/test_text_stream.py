"""What happens to text while it streams: split characters, stop strings, banned words, loops."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from small import tiny_tokenizer

from engine.text_stream import CharacterStream, LoopDetector, StopMatcher, WordBan


@given(st.text(), st.integers(1, 4))
def test_split_characters_come_out_whole(text: str, size: int) -> None:
    data, stream = text.encode("utf-8", "replace"), CharacterStream()
    parts = [stream.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert "".join(parts) + stream.flush() == data.decode()
    assert all("\ufffd" not in part or "\ufffd" in text for part in parts)


def test_a_character_that_never_ends_is_shown_as_broken() -> None:
    stream = CharacterStream()
    assert stream.feed("é".encode()[:1]) == "" and stream.flush() == "\ufffd"


@given(st.text("ab.", max_size=30), st.lists(st.text("ab.", min_size=1, max_size=4), min_size=1, max_size=3), st.integers(1, 3))
def test_stop_strings_by_definition(text: str, stops: list[str], size: int) -> None:
    matcher, shown = StopMatcher(stops), ""
    for at in range(0, len(text), size):
        shown += matcher.feed(text[at : at + size])
        assert text.startswith(shown)
        if matcher.matched:
            break
    else:
        shown += matcher.flush()
    found = [text.find(stop) for stop in stops if stop in text]
    if not found:
        assert shown == text and not matcher.matched
    else:  # what is fed in pieces stops at the first match that is whole, never later than the last one begins
        assert matcher.matched and len(shown) <= max(found)
        assert not any(stop in shown for stop in stops)


def test_text_that_may_become_a_stop_string_is_held_back() -> None:
    matcher = StopMatcher(["THE END"])
    assert matcher.feed("so. THE") == "so. " and matcher.feed(" EGG") == "THE EGG"
    assert matcher.feed(" TH") == " " and matcher.flush() == "TH"


def test_banned_words_whatever_their_case_and_pieces() -> None:
    tokenizer = tiny_tokenizer()
    ban = WordBan(["Kite"], tokenizer)
    for text, token in itertools.product((b"a ", b"A blue kit", b"ki", b'He said "KIT'), range(1, tokenizer.vocab_size)):
        after = (text + tokenizer.token_bytes(token)).decode("utf-8", "replace")
        if token in ban.tokens(text):
            assert "kite" in after.lower().replace('"', " ").split()
    assert any(tokenizer.token_bytes(token) == b"e" for token in ban.tokens(b"a blue kit"))
    assert not ban.tokens(b"a mastodon skit")


def test_banned_words_of_letters_that_a_token_splits() -> None:
    ban, tokenizer = WordBan(["café", "Été"], tiny_tokenizer()), tiny_tokenizer()
    after_half = ban.tokens(b"a caf" + "é".encode()[:1])
    assert [tokenizer.token_bytes(token) for token in after_half] == ["é".encode()[1:]]
    assert not ban.tokens("a décaf".encode() + "é".encode()[:1])


def test_no_words_no_bans() -> None:
    assert WordBan([], tiny_tokenizer()).tokens(b"a kit") == []


def loops_after(ids: list[int]) -> int | None:
    detector = LoopDetector()
    return next((at for at, token in enumerate(ids) if detector.feed(token)), None)


def test_loops_are_found_and_stories_are_not() -> None:
    assert loops_after([7] * 40) == 23
    assert loops_after([1, 2, 3, *([4, 5, 6, 7, 8, 9, 10, 11] * 4)]) == 26
    assert loops_after(list(range(300))) is None
    refrain = [1, 2, 3, 4, 5, 6]
    assert loops_after([*refrain, 10, *refrain, 11, *refrain, 12, *refrain]) is None
