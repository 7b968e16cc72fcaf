"""Decoding by one compiled call a token: on the CPU by machine code of our own, with CUDA by graphs (`static`, `graphs`).

`compiled.CompiledStep` is what the rest of the program uses. `packing` and `room` lay out weights and memory (`tables` names places),
`kernels` is the step itself, put together from `tiles` (vector instructions), `products`, `attention`, `likeliest` and `arithmetic`;
`crew` holds the helping threads, `machine` what numba does not offer. Only `compiled` and what it imports at the top load without numba.

Which step writes is found out by `choosing`, a process of its own (`loss`: what a precision costs; `checking`: whether logits are right;
`twins`: the networks that both are held against), kept by `remembered` and carried out by `background`, between two stories.
"""
