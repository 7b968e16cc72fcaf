"""Small logs in the wording of other programs, written by hand for the tests: what each prints, and nothing more; and what reads them."""

# ruff: noqa: E501 (the lines are as long as the programs print them)

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.watching.feed import Feed


def read(feed: Feed) -> Feed:
    """Poll until there is nothing more."""
    while feed.poll():
        pass
    return feed


def until(condition: Callable[[], object]) -> None:
    """Go on as soon as the condition holds; fail after 20 seconds."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def points(feed: Feed, name: str) -> dict[float, float]:
    """A column by step."""
    series = feed.table.series(name)
    if series is None:
        return {}
    return dict(
        zip(feed.table.axis("step")[series.rows].tolist(), np.round(series.values.astype(float), 4).tolist(), strict=True)
    )


def write(path: Path, text: str | bytes, add: bool = False) -> Path:
    with open(path, "ab" if add else "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path


def aged(path: Path, seconds: float) -> Path:
    at = time.time() - seconds
    os.utime(path, (at, at))
    return path


def json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


NANOGPT = """\
tokens per iteration will be: 16,384
number of parameters: 10.65M
num decayed parameter tensors: 26, with 10,740,096 parameters
step 0: train loss 4.2874, val loss 4.2823
iter 0: loss 4.2654, time 32439.12ms, mfu -100.00%
iter 10: loss 3.1432, time 120.50ms, mfu 3.21%
iter 20: loss 2.7311, time 121.50ms, mfu 3.20%
step 20: train loss 2.6511, val loss 2.6832
saving checkpoint to out-small
iter 30: loss 2.5021, time 119.00ms, mfu 3.22%
"""

LLM_C = """\
| max_sequence_length T | 1024                                               |
| val_num_batches       | 16                                                 |
val loss 11.011234
step    1/19560 | loss 11.009876 (+nanz)| norm 15.3214 (+nanz)| lr 8.57e-07 | 3056.36 ms | 42.6% bf16 MFU | 171545 tok/s
step    2/19560 | loss 10.965432 (+nanz)| norm 15.1200 (+nanz)| lr 1.71e-06 | 812.50 ms | 62.1% bf16 MFU | 645123 tok/s
step    3/19560 | loss 10.880000 (-1.20z)| norm 14.9800 (+0.50z)| lr 2.57e-06 | 811.90 ms | 62.0% bf16 MFU | 645500 tok/s
val loss 10.712345
"""

NANOCHAT = """\
Step 00000 | Validation bpb: 3.3121
step 00000/00500 (0.00%) | loss: 11.0904 | grad norm: 0.4512 | lrm: 1.00 | dt: 12345.67ms | tok/sec: 42,467 | mfu: 4.10 | total time: 0.00m
step 00001/00500 (0.20%) | loss: 10.8012 | grad norm: 0.5012 | lrm: 1.00 | dt: 1234.56ms | tok/sec: 424,670 | mfu: 41.03 | total time: 0.02m
Step 00002 | Validation bpb: 3.1004
step 00002/00500 (0.40%) | loss: 10.3312 | grad norm: 0.5512 | lrm: 1.00 | dt: 1233.00ms | tok/sec: 425,000 | mfu: 41.10 | total time: 0.04m
"""

LLAMA2_C = """\
step 0: train loss 10.4321, val loss 10.4310
0 | loss 10.4350 | lr 0.000000e+00 | 8123.45ms | mfu -100.00%
1 | loss 10.4210 | lr 5.000000e-07 | 323.45ms | mfu -100.00%
2 | loss 10.3990 | lr 1.000000e-06 | 321.10ms | mfu -100.00%
"""

PRINTED_DICTS = """\
{'loss': 2.3113, 'grad_norm': 1.25, 'learning_rate': 5e-05, 'epoch': 0.1}
{'loss': 2.1013, 'grad_norm': 1.05, 'learning_rate': 4e-05, 'epoch': 0.2}
{'eval_loss': 2.2001, 'eval_runtime': 1.2, 'eval_samples_per_second': 80.1, 'epoch': 0.2}
{'loss': '1.9', 'grad_norm': '0.95', 'learning_rate': '3e-05', 'epoch': '1'}
{'train_runtime': 12.5, 'train_samples_per_second': 8.0, 'train_loss': 2.1042, 'epoch': 0.3}
"""

DICTS_AND_BARS = (
    "\r  0%|          | 0/60 [00:00<?, ?it/s]"
    "\r 33%|███▎      | 20/60 [00:02<00:04,  9.90it/s]{'loss': 2.3113, 'grad_norm': 1.25, 'learning_rate': 5e-05, 'epoch': 0.1}\n"
    "\r 66%|██████▋   | 40/60 [00:04<00:02,  9.95it/s]\n{'loss': 2.1013, 'grad_norm': 1.05, 'learning_rate': 4e-05, 'epoch': '1'}\n"
    "\r  0%|          | 0/5 [00:00<?, ?it/s]\r100%|██████████| 5/5 [00:00<00:00, 52.10it/s]\n"
    "{'eval_loss': 2.2001, 'eval_runtime': 1.2, 'epoch': 0.2}\n"
    "\r100%|██████████| 60/60 [00:06<00:00,  9.98it/s]\n{'loss': 1.9, 'grad_norm': 0.95, 'learning_rate': 3e-05, 'epoch': 0.3}\n"
)

TQDM = "".join(
    f"\rtraining: {at:3d}%|{'█' * (at // 10):10s}| {at}/100 [00:{at:02d}<01:00, 1.05it/s, loss={5 - at / 50:.3f}]"
    for at in range(0, 51, 5)
)

KERAS = """\
Epoch 1/3
469/469 [==============================] - 3s 5ms/step - loss: 0.2912 - accuracy: 0.9152 - val_loss: 0.1423 - val_accuracy: 0.9571
Epoch 2/3
469/469 [==============================] - 2s 5ms/step - loss: 0.1211 - accuracy: 0.9641 - val_loss: 0.1022 - val_accuracy: 0.9689
"""

KERAS_3 = """\
Epoch 1/2
\x1b[1m 10/100\x1b[0m \x1b[32m━━\x1b[0m\x1b[37m━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m1s\x1b[0m 12ms/step - accuracy: 0.31 - loss: 2.10\r\
\x1b[1m100/100\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m2s\x1b[0m 12ms/step - accuracy: 0.61 - loss: 1.10 - val_accuracy: 0.7 - val_loss: 0.9
Epoch 2/2
\x1b[1m100/100\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m2s\x1b[0m 11ms/step - accuracy: 0.71 - loss: 0.80 - val_accuracy: 0.8 - val_loss: 0.7
"""

LOGGING = """\
2026-03-01 10:00:00,250 - INFO - trainer - starting, 3 epochs
2026-03-01 10:00:10,250 - INFO - trainer - step=10 loss=3.50 lr=1.0e-03 tokens_per_s=12,345
2026-03-01 10:00:20,250 - INFO - trainer - step=20 loss=3.25 lr=9.0e-04 tokens_per_s=12,350
2026-03-01 10:00:20,900 - INFO - trainer - step=20 val_loss=3.31
2026-03-01 10:00:30,250 - INFO - trainer - step=30 loss=nan lr=8.0e-04 tokens_per_s=12,360
"""

TORCHTITAN = """\
[rank0]:[titan] 2026-03-01 10:00:00,000 - root - INFO - step:  1  loss:  8.1309  grad_norm:  1.5011  memory:  5.22GiB(6.60%)  tps: 2,345  tflops: 10.11  mfu: 3.20%
[rank0]:[titan] 2026-03-01 10:00:05,000 - root - INFO - step: 10  loss:  6.4012  grad_norm:  2.1011  memory:  6.00GiB(7.60%)  tps: 22,345  tflops: 90.11  mfu: 28.20%
"""

MEGATRON = """\
 [2026-03-01 10:00:00] iteration      100/    1000 | consumed samples:          800 | elapsed time per iteration (ms): 250.5 | learning rate: 1.500000E-04 | global batch size:     8 | lm loss: 6.512345E+00 | loss scale: 1.0 | grad norm: 1.250 | number of skipped iterations:   0 | number of nan iterations:   0 |
 [2026-03-01 10:00:25] iteration      200/    1000 | consumed samples:         1600 | elapsed time per iteration (ms): 249.5 | learning rate: 1.400000E-04 | global batch size:     8 | lm loss: 5.512345E+00 | loss scale: 1.0 | grad norm: 1.150 | number of skipped iterations:   0 | number of nan iterations:   0 |
 validation loss at iteration 200 | lm loss value: 5.412345E+00 | lm loss PPL: 2.241576E+02 |
"""

TORCH_EXAMPLE = """\
Train Epoch: 1 [0/60000 (0%)]\tLoss: 2.305400
Train Epoch: 1 [640/60000 (1%)]\tLoss: 1.359780

Test set: Average loss: 0.2012, Accuracy: 9400/10000 (94%)

Train Epoch: 2 [0/60000 (0%)]\tLoss: 0.159780
Train Epoch: 2 [640/60000 (1%)]\tLoss: 0.139780
"""

STEPS_OF_EPOCHS = "".join(
    f"Epoch [{epoch}/2], Step [{step}/600], Loss: {3 - epoch - step / 1000:.4f}\n"
    for epoch in (1, 2)
    for step in range(100, 601, 100)
)

LIGHTNING = (
    "".join(
        f"\rEpoch {epoch}: {at:3d}%|{'█' * (at // 10):10s}| {at}/100 [00:05<00:05,  9.99it/s, v_num=0, train_loss={3 - epoch - at / 100:.3f}]"
        for epoch in (0, 1)
        for at in (50, 100)
    )
    + "\n"
)

FAIRSEQ = """\
2026-03-01 10:00:00 | INFO | fairseq.trainer | begin training epoch 1
2026-03-01 10:00:10 | INFO | train_inner | epoch 001:    100 / 1000 loss=8.123, nll_loss=7.901, ppl=240.5, wps=12340.5, ups=10.5, wpb=1024, bsz=8, num_updates=100, lr=1e-05, gnorm=2.125, train_wall=80, wall=90
2026-03-01 10:00:20 | INFO | train_inner | epoch 001:    200 / 1000 loss=7.123, nll_loss=6.901, ppl=120.5, wps=12345.5, ups=10.5, wpb=1024, bsz=8, num_updates=200, lr=2e-05, gnorm=1.125, train_wall=90, wall=100
"""

OLMO = """\
[2026-03-01 10:00:00] INFO     [train:966, rank=0] [step=1/740,epoch=0]
    optim/total_grad_norm=8.250
    train/CrossEntropyLoss=11.31
    throughput/total_tokens=4,194,304
[2026-03-01 10:00:08] INFO     [train:966, rank=0] [step=2/740,epoch=0]
    optim/total_grad_norm=7.250
    train/CrossEntropyLoss=10.31
    throughput/total_tokens=8,388,608
"""

LITGPT = """\
Epoch 1 | iter 100 step 25 | loss train: 2.310, val: n/a | iter time: 123.45 ms (step)
Epoch 1 | iter 200 step 50 | loss train: 2.210, val: 2.500 | iter time: 122.45 ms (step)
"""

SPEEDRUN = """\
step:0/1750 val_loss:10.8258 train_time:0ms step_avg:nanms
step:125/1750 val_loss:4.6012 train_time:18125ms step_avg:145.00ms
step:250/1750 val_loss:4.1012 train_time:36250ms step_avg:145.00ms
"""

BARE = """\
0 val 10.9484
0 hella 0.2434
0 train 10.955123
1 train 10.655123
250 val 6.0012
"""

LLM_C_FILE = """\
s:0 tel:11.0012
s:1 trl:10.9812 lr:8.57e-07 norm:15.25
s:2 trl:10.8812 lr:1.71e-06 norm:15.15
s:250 tel:6.5012
"""

TRAINER_STATE = {
    "best_global_step": 20,
    "best_metric": 2.2,
    "best_model_checkpoint": "out/checkpoint-20",
    "epoch": 0.3,
    "eval_steps": 20,
    "global_step": 30,
    "is_hyper_param_search": False,
    "is_local_process_zero": True,
    "is_world_process_zero": True,
    "log_history": [
        {"epoch": 0.1, "grad_norm": 1.25, "learning_rate": 5e-05, "loss": 2.5, "step": 10},
        {"epoch": 0.2, "grad_norm": 1.05, "learning_rate": 4e-05, "loss": 2.25, "step": 20},
        {"epoch": 0.2, "eval_loss": 2.2, "eval_runtime": 1.25, "eval_samples_per_second": 80.0, "step": 20},
        {"epoch": 0.3, "grad_norm": 0.95, "learning_rate": 3e-05, "loss": 2.0, "step": 30},
    ],
    "logging_steps": 10,
    "max_steps": 100,
    "num_input_tokens_seen": 0,
    "num_train_epochs": 1,
    "save_steps": 10,
    "stateful_callbacks": {"TrainerControl": {"args": {"should_save": True}, "attributes": {}}},
    "total_flos": 1.0e12,
    "train_batch_size": 8,
    "trial_name": None,
    "trial_params": None,
}
"""What `trainer_state.json` looks like after 30 of 100 steps."""

GARBAGE = [
    b"\n", b"\r", b"\0", b"step,loss\n", b"1,2\n", b'{"step": 1, "loss": 2}\n', b'{"step": 1e999, "loss": {"a": {}}}\n', b'{"loss": 1}\n',
    b'{"step": null}\n', b'{"step": -5, "loss": "nan", "time": "x"}\n', b'{"": {"": 1}}\n', b"iter 5: loss nan\n", b"step 1e400/0 loss 2\n",
    b"Epoch 0/0\n", b"Epoch nan/3: 5/5 [=] - loss: inf\n", b"10%|# | 1/10 [00:01<00:09, 1it/s, loss=2]\r", b"{'loss': 1, 'epoch': 0.1}\n",
    b"step of 3/nan | val loss -inf\n", b"9999-12-31 23:59:59 step 1 loss 2\n", b'a,"b\n', b"\xef\xbb\xbf", b"\x1b[31m", b'{"log_history": [',
    b'{"step": 99999999999999999999999, "loss": 1}\n', b"0001-01-01 00:00:00,1 iter 1 loss 1\n", b"time,step,loss\n99e99,1,2\n", b"\x08\x08",
    b"val_bpb: 1 train loss: 2 val loss: 3 step: inf\n", "Épocas ١٢ loss ٣\n".encode(),
]  # fmt: skip
"""Pieces that, put together, are no log, or a damaged one."""
