"""Words that are made likelier: which tokens are raised where, and that it is the same with every kind of step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import tiny_loaded, tiny_tokenizer

from engine.decode.graphs import GraphedStep
from engine.decode.stepping import picked_out
from engine.errors import UsageError
from engine.favour import AGAIN_AFTER, Wanted, WordFavour
from engine.generation import generate
from engine.protocol import Finished, Token
from engine.settings import GenerationRequest, SamplingSettings
from engine.text_stream import mentions
from engine.tokenizer import GPT2Tokenizer


def texts(words: list[str], after: str, tokenizer: object = None) -> set[str]:
    """The texts of the tokens that are raised."""
    tokenizer = tokenizer or GPT2Tokenizer()
    raised = WordFavour(words, tokenizer).tokens(after.encode(), words)  # type: ignore[arg-type]
    return {tokenizer.token_bytes(token).decode() for token in raised}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def gpt2() -> GPT2Tokenizer:
    return GPT2Tokenizer()


@pytest.mark.parametrize(
    ("text", "raised"),
    [
        ("There was a", {" dragon"}),
        ("There was a ", {"dragon"}),
        ("", {"dragon"}),
        ("\n", {"dragon"}),
        ('He said "', {" dragon", "dragon"}),
        ("a dra", {"gon", " dragon"}),
        ("a DR", {"agon", " dragon"}),
        ("a xdra", {" dragon"}),
        ("a dragon", {" dragon"}),
    ],
)
def test_a_word_is_raised_where_it_may_begin_or_has_begun(gpt2: GPT2Tokenizer, text: str, raised: set[str]) -> None:
    assert {piece.lower() for piece in texts(["dragon"], text, gpt2)} == raised
    assert not text.endswith("a") or " Dragon" in texts(["dragon"], text, gpt2)


def test_no_other_beginning_is_raised_than_the_tokenizers_own(gpt2: GPT2Tokenizer) -> None:
    assert texts(["apple"], "I ate an", gpt2) == {" apple", " Apple"}  # and not " a"
    first = texts(["Zoltanovich"], "He met", gpt2)
    assert all(" zoltanovich".startswith(piece.lower()) for piece in first) and first


@given(st.sampled_from(["kite", "Zoltanovich", "café", "red ball", "umbrella", "Été"]), st.sampled_from(["", "A", 'so "', "x\n"]))
def test_a_word_of_any_tokens_is_reached_by_what_is_raised(word: str, text: str) -> None:
    for tokenizer in (tiny_tokenizer(), GPT2Tokenizer()):
        favour, data = WordFavour([word], tokenizer), text.encode()
        for _ in range(40):
            if mentions(data.decode("utf-8", "replace"), word):
                break
            raised = favour.tokens(data, [word])
            if not raised:  # the small vocabulary has a token for the space alone
                data += b" "
                continue
            # The longest step forward: others begin the word anew.
            data += max(
                (tokenizer.token_bytes(token) for token in raised), key=lambda piece: (not piece.startswith(b" "), len(piece))
            )
        assert mentions(data.decode("utf-8", "replace"), word)


def test_mentions_are_whole_words_in_any_case() -> None:
    assert mentions("A KITE flew.", "kite") and mentions("the red\nball", "red ball") and mentions("kite", " Kite ")
    assert mentions("It was Été's dog", "été") and mentions("(kite)", "kite") and mentions("a_kite", "kite")
    assert not mentions("kites", "kite") and not mentions("skite", "kite") and not mentions("", "kite") and not mentions("x", " ")
    assert not mentions("caféine", "café") and mentions("what?!", "?!")


def test_a_word_is_wanted_until_it_has_come_and_a_favoured_one_again_later(gpt2: GPT2Tokenizer) -> None:
    settings = SamplingSettings(favoured_words=("dragon",), must_mention=("boat", "rain"))
    favour = WordFavour(("dragon", "boat", "rain"), gpt2)

    def wanted(*texts: str, given: str = "") -> set[str]:
        story, found = Wanted(favour, settings, given.encode()), set()
        for text in texts:
            found = {gpt2.token_bytes(token).decode().strip().lower() for token in story.raised(text.encode(), 0)}
        return found

    assert wanted("A dog ran") == {"dragon", "boat", "rain"}
    assert wanted("A dog ran", given="The Boat.") == {"dragon", "rain"}
    assert wanted("The boat was", "A dog ran") == {"dragon", "rain"}
    assert wanted("a boat") == {"dragon", "rain"} and wanted("a boat", "two boats ran") == {"dragon", "rain"}
    assert wanted("a boat", f"two boats ran{' so' * AGAIN_AFTER}") == {"dragon", "boat", "rain"}  # it grew into another word
    far = " word" * (AGAIN_AFTER - 1)
    amounts = [set(Wanted(favour, settings, b"").raised(b"A dog ran", length).values()) for length in (0, 40, 400)]
    assert amounts == [{3.0}, {3.0, 6.0}, {3.0, 12.0}]  # what must be mentioned becomes ever likelier
    assert wanted(f"a dragon{far}") == {"boat", "rain"} and wanted(f"a dragon{far} more") == {"dragon", "boat", "rain"}


REQUEST = GenerationRequest(
    opening="Mia found",
    sampling=SamplingSettings(
        temperature=1.2, top_k=30, seed=4, max_tokens=60, min_tokens=60, stop_loops=False,
        must_mention=("snow",), favoured_words=("kite",), favour=10.0, repetition_penalty=1.2, banned_words=("fox",),
    ),
)  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.0}, {"top_k": 0}])
def test_every_step_draws_the_same_with_favoured_words(changes: dict[str, float], compiled: Path) -> None:
    pytest.importorskip("numba")
    from engine.decode.compiled import CompiledStep

    checkpoint = tiny_loaded("rope", context=32)
    request = dataclasses.replace(REQUEST, sampling=dataclasses.replace(REQUEST.sampling, **changes), count=2)

    def tokens() -> list[tuple[int, int]]:
        return [(event.story, event.token) for event in generate(checkpoint, request) if isinstance(event, Token)]

    plain = tokens()
    checkpoint.compiled = CompiledStep.build(checkpoint.network, "fp32", 1, compiled, checkpoint.tokenizer.vocab_size)
    assert tokens() == plain
    checkpoint.compiled = GraphedStep(checkpoint.network, checkpoint.tokenizer.vocab_size)
    assert tokens() == plain


def test_a_strong_favour_brings_the_words_and_none_changes_nothing() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    quiet = dataclasses.replace(REQUEST.sampling, max_tokens=300, min_tokens=300, banned_words=(), repetition_penalty=1.0)

    def story(**changes: object) -> str:
        request = dataclasses.replace(REQUEST, sampling=dataclasses.replace(quiet, **changes))
        return "".join(event.text for event in generate(checkpoint, request) if isinstance(event, Token | Finished))

    plain = story(favoured_words=(), must_mention=())
    assert story(favour=0.0) == plain and not mentions(plain, "snow")
    assert mentions(story(temperature=0.7), "snow")
    assert picked_out(quiet) == 0 and picked_out(dataclasses.replace(quiet, favour=0.0)) > 0


@pytest.mark.parametrize("name", ["favoured_words", "must_mention", "banned_words"])
def test_words_of_the_wrong_kind_are_refused(name: str) -> None:
    for wrong in (("kite", " "), "kite", (5,), ["kite"]):
        with pytest.raises(UsageError):
            SamplingSettings(**{name: wrong})  # type: ignore[arg-type]
    old = {
        key: value
        for key, value in SamplingSettings().to_json().items()
        if key not in ("favoured_words", "must_mention", "favour")
    }
    assert SamplingSettings.from_json(old) == SamplingSettings()
