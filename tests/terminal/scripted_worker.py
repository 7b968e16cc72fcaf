"""A stand-in for the engine worker that needs no model: it speaks the real protocol and writes seeded nonsense.

Run as `python scripted_worker.py [--rate TOKENS_PER_S] [--plain] [...]`; see `main` for what each switch makes it do. What may come
next depends on the last letters of the text alone, so what it looks at, scores and writes agrees. A topic `fail` is refused.
"""

from __future__ import annotations

import argparse
import math
import os
import queue
import random
import re
import sys
import threading
import time
import zlib
from collections.abc import Iterator

from engine import protocol
from engine.settings import GenerationRequest, SamplingSettings

WORDS = [
    "the",
    "a",
    "little",
    "knight",
    "dog",
    "tree",
    "saw",
    "ran",
    "found",
    "smiled",
    "cried",
    "happy",
    "sad",
    "home",
    "friend",
    "and",
    "then",
    "so",
    "they",
    "was",
    "very",
    "big",
]

DETAILS = {"loop": "“and the dog ran” came 4 times in a row", "stop string": "“The end” came"}
"""What is told of a stop reason."""
END, HALF, FIRST_WORD = 0, 1, 10
"""Tokens: the end of a story, half of a character, and the first of the words."""


def token_of(text: str) -> int:
    """The id of a piece of text: always the same."""
    word = text.removeprefix(" ")
    return FIRST_WORD + WORDS.index(word) if word in WORDS and text != word else 1000 + zlib.crc32(text.encode()) % 49_000


def outlook(text: str) -> dict[int, tuple[str, float]]:
    """What may come after a text: of each token its own text and its log probability, likeliest first."""
    draw = random.Random(text[-40:])
    pieces = [(FIRST_WORD + place, f" {word}") for place, word in enumerate(WORDS)]
    draw.shuffle(pieces)
    pieces.insert(5, (END, ""))
    pieces.insert(9, (HALF, "\ufffd"))
    weights = [math.exp(-0.35 * place - 0.1 * draw.random()) for place in range(len(pieces))]
    total = sum(weights) / 0.98  # the rest of the vocabulary has the rest
    return {token: (piece, math.log(weight / total)) for (token, piece), weight in zip(pieces, weights, strict=True)}


def logprob(before: str, token: int) -> float:
    """Of a token after a text; a token that is not among the words is unlikely."""
    return outlook(before).get(token, ("", -7.5))[1]


def send(event: protocol.Event) -> None:
    sys.stdout.buffer.write(protocol.encode(event))
    sys.stdout.buffer.flush()


def words(request: GenerationRequest, seed: int, count: int) -> list[str]:
    """The story for a request: the same request and seed give the same words."""
    draw = random.Random(f"{seed}/{request.topic}/{request.ending}/{len(request.opening)}")
    out = []
    for index in range(count):
        if index and index % 60 == 0:
            out.append(".\n\nThen")
        else:
            out.append(" " + draw.choice(WORDS))
    return out


class Worker:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.commands: queue.Queue[protocol.Command | None] = queue.Queue()
        self.cancelled: set[int] = set()
        self.info: protocol.CheckpointInfo | None = None

    def listen(self) -> None:
        for line in sys.stdin.buffer:
            command = protocol.decode_command(line)
            if isinstance(command, protocol.Cancel):
                self.cancelled.add(command.id)
            else:
                self.commands.put(command)
        os._exit(0)  # the terminal is gone

    def run(self) -> None:
        while True:
            command = self.commands.get()
            if isinstance(command, protocol.Load):
                self.load(command)
            elif isinstance(command, protocol.Generate):
                self.together(protocol.Together((command,)))
            elif isinstance(command, protocol.Together):
                self.together(command)
            elif isinstance(command, protocol.Look):
                self.look(command)
            elif isinstance(command, protocol.Score):
                self.score(command)
            elif isinstance(command, protocol.Status):
                send(protocol.StatusReport(command.id, self.info, None, 1))
            else:
                os._exit(0)  # an orderly end would wait for the listening thread, which holds standard input

    def load(self, command: protocol.Load) -> None:
        send(protocol.Loading(command.id, "reading the checkpoint"))
        time.sleep(self.options.load_seconds)
        if command.source == "missing":
            send(
                protocol.Failed(command.id, "There is no checkpoint at missing: name a folder, a file or a Hub id.", "checkpoint")
            )
            return
        self.info = protocol.CheckpointInfo(
            name=command.source or "tiny-test",
            source=command.source or "default",
            family="llama",
            parameters=1_000_000,
            context=256,
            tokenizer="byte-level BPE, 4,096 tokens",
            prompt_style="plain" if self.options.plain else self.options.style,
            device="cpu",
            precision="float32",
            sampling=SamplingSettings(temperature=0.75, top_k=40, max_tokens=self.options.tokens),
        )
        send(protocol.Loaded(command.id, self.info, self.options.load_seconds))

    def generate(self, command: protocol.Generate) -> Iterator[None]:
        """Write all stories of a request; stops after each of their tokens."""
        request, options = command.request, self.options
        if request.topic == "fail":
            send(protocol.Failed(command.id, "This story cannot be written: its topic is fail.", "usage"))
            return
        first = request.sampling.seed if request.sampling.seed is not None else random.randrange(2**31)
        send(protocol.Started(command.id, 12, 256, first, request.topic))
        count = min(request.sampling.max_tokens, options.tokens)
        stories = [
            re.findall(r"\s*\S+", options.text)[:count] or words(request, first + story, count) for story in range(request.count)
        ]
        texts = [given(request)] * request.count
        start, reason, drawn = time.monotonic(), options.ends, 0
        for index in range(max(map(len, stories))):
            if command.id in self.cancelled:
                reason = "cancelled"
                break
            if options.die_after and index == options.die_after:
                os.kill(os.getpid(), 9)
            if options.rate:
                time.sleep(max(0.0, start + index / options.rate - time.monotonic()))
            drawn += 1
            for story, told in enumerate(stories):
                text = " [bold]not markup[/] \x1b[31mnot red\x1b[0m \u202e[/oops" if options.nasty and index == 5 else told[index]
                token, spent = token_of(text), time.monotonic() - start
                send(protocol.Token(command.id, story, token, text, logprob(texts[story], token), spent))
                texts[story] += text
            yield
        spent = time.monotonic() - start
        rate = (drawn - 1) / spent if drawn > 1 and spent > 0 else 0.0
        detail = DETAILS.get(reason, "")
        for story in range(request.count):
            send(protocol.Finished(command.id, story, reason, "", first + story, 12, drawn, 0.01, rate, detail))
        send(protocol.Done(command.id))

    def together(self, command: protocol.Together) -> None:
        """All parts in turns, a token of each after the other."""
        going = [self.generate(part) for part in command.parts]
        while going:
            going = [part for part in going if next(part, True) is None]

    def look(self, command: protocol.Look) -> None:
        """What may come next: temperature, top-k, top-p, min-p and bans cut as they do in the engine."""
        sampling = command.request.sampling
        told = outlook(given(command.request))
        if command.also is not None and command.also not in told:
            told[command.also] = ("?", -7.5)
        banned = {f" {word.strip().lower()}" for word in sampling.banned_words}
        cuts = {token: "banned" if text in banned else "" for token, (text, _) in told.items()}
        left = [token for token in told if not cuts[token]]
        sharpness = 1 / (sampling.temperature or 0.001)
        weights = {token: math.exp(sharpness * (told[token][1] - told[left[0]][1])) for token in left}
        before = 0.0
        for rank, token in enumerate(left):
            if sampling.temperature == 0.0 and rank:
                cuts[token] = "temperature"
            elif 0 < sampling.top_k <= rank:
                cuts[token] = "top-k"
            elif rank and before >= sampling.top_p * sum(weights.values()):
                cuts[token] = "top-p"
            elif weights[token] < sampling.min_p * weights[left[0]]:
                cuts[token] = "min-p"
            before += weights[token]
        kept = [token for token in left if not cuts[token]]
        shares = {token: weights[token] / sum(weights[other] for other in kept) for token in kept}
        chances = [
            protocol.Chance(token, text, logprob, shares.get(token, 0.0), cuts[token], token == END, token != HALF)
            for rank, (token, (text, logprob)) in enumerate(told.items())
            if rank < command.count or token == command.also
        ]
        probability = sum(math.exp(told[token][1]) for token in kept)
        send(protocol.Prospect(command.id, tuple(chances), len(kept), probability))

    def score(self, command: protocol.Score) -> None:
        opening, tokens, before = command.request.opening, [], ""
        for piece in re.findall(r"\s*\S+|\s+$", opening):
            token = token_of(piece)
            tokens.append((token, len(piece), logprob(before, token) if before or not self.options.plain else math.nan))
            before += piece
        send(protocol.Scored(command.id, tuple(tokens)))


def given(request: GenerationRequest) -> str:
    """The text that the request goes on from."""
    return request.opening or (request.topic if request.ending is None else "")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=0.0, help="tokens a second; 0: as fast as it goes")
    parser.add_argument("--tokens", type=int, default=40, help="the longest story")
    parser.add_argument("--text", default="", help="write this instead of nonsense")
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--plain", action="store_true", help="a checkpoint that knows no story prompt")
    parser.add_argument("--style", default="topic-ending", help="the prompt style of the checkpoint")
    parser.add_argument("--nasty", action="store_true", help="write markup and escape codes")
    parser.add_argument("--die-after", type=int, default=0, help="SIGKILL itself before this token")
    parser.add_argument("--ends", default="end of text", help="the reason why a story ends that nobody stops")
    parser.add_argument("--protocol", type=int, default=protocol.PROTOCOL)
    parser.add_argument("--greeting", default="", help="a line before hello, as a remote shell writes it")
    parser.add_argument("--big-line", type=int, default=0, help="after hello, one token of this many characters")
    parser.add_argument("--fail", default="", help="say this on standard error and end")
    options = parser.parse_args()
    if options.fail:
        sys.exit(options.fail)
    if options.greeting:
        print(options.greeting, flush=True)
    send(protocol.Hello(options.protocol, "0", os.getpid()))
    if options.big_line:
        send(protocol.Token(0, 0, 0, "x" * options.big_line, 0.0, 0.0))
    worker = Worker(options)
    threading.Thread(target=worker.listen, daemon=True).start()
    worker.run()


if __name__ == "__main__":
    main()
