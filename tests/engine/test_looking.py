"""Looking at what may come next, and scoring a text: held against the functions that draw and against the network itself."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from small import tiny_loaded

from engine import sampling
from engine.checkpoints.native import Checkpoint
from engine.decode.graphs import GraphedStep
from engine.errors import UsageError
from engine.generation import generate
from engine.looking import Looker
from engine.protocol import Prospect, Scored, Token, decode_event, encode
from engine.reading import fit_to_context, reading
from engine.scoring import score, windows
from engine.settings import GenerationRequest, SamplingSettings

WAYS = ["plain", "compiled", "graphed"]
SETTINGS = {
    "all": SamplingSettings(temperature=1.0, top_k=0, top_p=1.0),
    "cut by top-k": SamplingSettings(temperature=1.4, top_k=12, top_p=1.0),
    "cut by top-p": SamplingSettings(temperature=1.6, top_k=40, top_p=0.7),
    "cut by min-p": SamplingSettings(temperature=1.6, top_k=0, top_p=1.0, min_p=0.1),
    "penalised": SamplingSettings(temperature=1.5, repetition_penalty=1.8, min_tokens=5, no_repeat_ngram=1),
    "penalised below 1": SamplingSettings(temperature=1.5, repetition_penalty=0.6),
    "banned and favoured": SamplingSettings(
        temperature=1.5, banned_words=("a", "e"), favoured_words=("kite",), must_mention=("snow", "Mia"), favour=8.0
    ),
    "greedy": SamplingSettings(temperature=0.0),
}


def loaded(way: str, compiled: Path, shape: str = "rope", context: int = 32) -> Checkpoint:
    checkpoint = tiny_loaded(shape, context)
    if way == "compiled":
        pytest.importorskip("numba")
        from engine.decode.compiled import CompiledStep

        checkpoint.compiled = CompiledStep.build(checkpoint.network, "fp32", 1, compiled, checkpoint.tokenizer.vocab_size)
    elif way == "graphed":
        checkpoint.compiled = GraphedStep(checkpoint.network, checkpoint.tokenizer.vocab_size)
    return checkpoint


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_shares_are_those_of_the_draw(way: str, name: str, compiled: Path) -> None:
    checkpoint = loaded(way, compiled)
    request = GenerationRequest(opening="Mia found a blue", sampling=SETTINGS[name])
    looker = Looker()
    found = looker.look(checkpoint, request, 256, 5)
    shares = {chance.token: chance.share for chance in found.chances if chance.share}
    assert math.isclose(sum(shares.values()), 1.0, abs_tol=1e-4) or len(shares) < found.kept
    assert [c.logprob for c in found.chances[:256]] == sorted((c.logprob for c in found.chances[:256]), reverse=True)
    drawn = Counter()
    for seed in range(60):
        asked = dataclasses.replace(request, sampling=dataclasses.replace(request.sampling, seed=seed, max_tokens=5))
        event = next(event for event in generate(checkpoint, asked) if isinstance(event, Token))
        drawn[event.token] += 1
        told = {chance.token: chance for chance in looker.look(checkpoint, asked, 256, event.token).chances}[event.token]
        assert told.share > 0.0 and told.cut == "" and told.logprob == pytest.approx(event.logprob, abs=4e-3)
    likeliest = max(shares, key=shares.__getitem__)
    assert abs(drawn[likeliest] / 60 - shares[likeliest]) < 0.3
    for chance in found.chances:
        assert (chance.share > 0.0) == (chance.cut == "")
        assert chance.ends == (chance.token == checkpoint.tokenizer.end_id)
        assert chance.ends or chance.whole == ("\ufffd" not in chance.text and chance.text != "")
    words = "banned" if name == "banned and favoured" else {"greedy": "temperature", "all": ""}.get(name, name[7:])
    assert words in {chance.cut for chance in found.chances} or name.startswith("penalised")


def test_the_shares_are_exactly_the_candidates() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    settings = SamplingSettings(temperature=1.3, top_k=60, top_p=0.9, min_p=0.01, repetition_penalty=1.5, min_tokens=1)
    request = GenerationRequest(topic="a kite", ending="sad", opening="Mia found", sampling=settings)
    found = Looker().look(checkpoint, request, 256, None, id=9)
    read = reading(checkpoint, request)
    logits = checkpoint.network(torch.tensor([fit_to_context(read.ids, 64)]))[0, -1]
    logits = sampling.penalise_repetition(logits, checkpoint.tokenizer.encode("Mia found"), 1.5)
    logits[checkpoint.tokenizer.end_id] = -torch.inf
    probabilities, ids = sampling.candidates(logits, settings)
    wanted = dict(zip(ids.tolist(), probabilities.tolist(), strict=True))
    shares = {chance.token: chance.share for chance in found.chances if chance.share}
    assert found.id == 9 and found.kept == len(wanted) and shares == pytest.approx({t: wanted[t] for t in shares}, rel=1e-4)
    assert decode_event(encode(found)) == found
    few = Looker().look(checkpoint, request, 3, ids[-1].item())
    assert len(few.chances) in (3, 4) and few.kept == found.kept and few.left == pytest.approx(found.left)


def test_a_moved_slider_reads_no_prompt_again(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, looker, read = tiny_loaded("rope", context=64), Looker(), []
    network = checkpoint.network
    hook = network.register_forward_hook(lambda *_: read.append(1))
    request = GenerationRequest(opening="Mia found")
    for temperature in (0.5, 1.0, 1.5):
        looker.look(checkpoint, dataclasses.replace(request, sampling=SamplingSettings(temperature=temperature)))
    assert len(read) == 1
    looker.look(checkpoint, GenerationRequest(opening="Mia found a"))
    looker.look(tiny_loaded("rope", context=64, seed=2), GenerationRequest(opening="Mia found a"))
    looker.look(checkpoint, GenerationRequest(opening="Mia found a"))
    assert len(read) == 3
    hook.remove()
    for wrong in ({"count": 0}, {"count": 257}, {"also": -1}, {"also": 5000}):
        with pytest.raises(UsageError):
            looker.look(checkpoint, request, **wrong)


@pytest.mark.parametrize("shape", ["learned", "rope, windows"])
@pytest.mark.parametrize("text", ["Mia found a café by the harbour.", "M", "e\u0301\ud800 🎈", "The old fox lost a kite. " * 9])
@pytest.mark.parametrize("ending", [None, "sad"])
def test_a_text_is_scored_as_the_network_finds_it(shape: str, text: str, ending: str | None) -> None:
    checkpoint = tiny_loaded(shape, context=48)
    request = GenerationRequest(topic="a kite", ending=ending, opening=text)  # type: ignore[arg-type]
    found = score(checkpoint, request, id=4)
    assert sum(letters for _, letters, _ in found.tokens) == len(text)
    ids = reading(checkpoint, request).ids
    assert [token for token, _, _ in found.tokens] == ids[len(ids) - len(found.tokens) :]
    for start, end, scored in windows(len(ids), 48, len(ids) - len(found.tokens)):
        logs = checkpoint.network(torch.tensor([ids[start:end]]))[0].log_softmax(-1)
        for place in range(scored, end):
            expected = float(logs[place - start - 1, ids[place]])
            assert found.tokens[place - len(ids)][2] == pytest.approx(expected, abs=1e-3)


def test_every_token_is_scored_once_with_enough_before_it() -> None:
    for context, first, tokens in ((16, 0, 100), (16, 40, 100), (48, 5, 48), (48, 0, 0), (5, 1, 23), (1, 0, 4), (2, 0, 9)):
        at = first
        for start, end, scored in windows(tokens, context, first):
            assert scored == at < end <= tokens and end - start <= context and start >= 0
            assert start == 0 or scored - start >= max(1, context // 4) or context < 2
            at = end
        assert at == max(tokens, first)


def test_the_first_token_of_all_has_no_probability_and_json_says_so() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    checkpoint.prompt_style = dataclasses.replace(checkpoint.prompt_style, start_with_end=False)
    found = score(checkpoint, GenerationRequest(opening="Mia found a kite"))
    assert math.isnan(found.tokens[0][2]) and not any(math.isnan(log) for _, _, log in found.tokens[1:])
    line = encode(found)
    assert b"NaN" not in line and b"null" in line
    again = decode_event(line)
    assert isinstance(again, Scored) and math.isnan(again.tokens[0][2]) and again.tokens[1:] == found.tokens[1:]
    assert score(checkpoint, GenerationRequest(topic="a kite", ending="sad")).tokens == ()
    with pytest.raises(UsageError, match="stopped"):
        score(checkpoint, GenerationRequest(opening="Mia"), cancelled=lambda: True)


def test_where_only_packed_weights_are_left_the_step_scores(compiled: Path) -> None:
    exact = tiny_loaded("rope", context=24)
    text = GenerationRequest(opening="The old fox lost a blue kite in the snow, and nobody knew why.")
    wanted = score(exact, text)
    packed = loaded("compiled", compiled, context=24)
    packed.network.to("meta")
    found = score(packed, text)
    assert [token[:2] for token in found.tokens] == [token[:2] for token in wanted.tokens]
    assert [token[2] for token in found.tokens] == pytest.approx([token[2] for token in wanted.tokens], abs=1e-3)
    assert isinstance(Looker().look(packed, text), Prospect)
