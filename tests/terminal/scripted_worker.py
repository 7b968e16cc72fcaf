"""A stand-in for the engine worker that needs no model: it speaks the real protocol and writes seeded nonsense.

Run as `python scripted_worker.py [--rate TOKENS_PER_S] [--plain] [...]`; see `main` for what each switch makes it do.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import re
import sys
import threading
import time

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
                self.generate(command)
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

    def generate(self, command: protocol.Generate) -> None:
        request = command.request
        seed = request.sampling.seed if request.sampling.seed is not None else random.randrange(2**31)
        send(protocol.Started(command.id, 12, 256, seed, request.topic))
        start, reason, drawn = time.monotonic(), "length", 0
        count = min(request.sampling.max_tokens, self.options.tokens)
        told = re.findall(r"\s*\S+", self.options.text)[:count] or words(request, seed, count)
        for index, text in enumerate(told):
            if command.id in self.cancelled:
                reason = "cancelled"
                break
            if self.options.die_after and index == self.options.die_after:
                os.kill(os.getpid(), 9)
            if self.options.nasty and index == 5:
                text = " [bold]not markup[/] \x1b[31mnot red\x1b[0m \u202e[/oops"
            if self.options.rate:
                time.sleep(max(0.0, start + index / self.options.rate - time.monotonic()))
            drawn += 1
            send(protocol.Token(command.id, 0, 1, text, -1.0, time.monotonic() - start))
        else:
            reason = "end of text"
        spent = time.monotonic() - start
        rate = (drawn - 1) / spent if drawn > 1 and spent > 0 else 0.0
        send(protocol.Finished(command.id, 0, reason, "", seed, 12, drawn, 0.01, rate))
        send(protocol.Done(command.id))


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
