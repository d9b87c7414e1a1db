"""Deterministic weight filling shared by the oracle side and the re-implementation side.

Rule, per floating tensor `name` of module.state_dict() (official name, no wrapper prefix):
  rng = numpy.random.default_rng(zlib.crc32(name.encode()))
  z   = rng.standard_normal(shape)                     (float64, then cast to float32)
  skip: integer/bool tensors; names whose last component is in SKIP_LAST; anything with
        'stft.' / 'istft.' / 'logmel' / 'melW' / 'conv_real' / 'conv_imag' inside;
        anything in SKIP_SUB.
  running_mean -> 0.1*z ; running_var -> 1 + 0.1*|z|
  ndim>=2      -> z / sqrt(prod(shape[1:]))
  ndim==1 and last component ends with 'weight' -> 1 + 0.1*z
  everything else with ndim<=1 (biases, scalars) -> 0.1*z
  0-d tensors (logit_scale, temp) -> left untouched
"""

import zlib
import numpy as np
import torch

SKIP_SUB = (
    "conv_real",
    "conv_imag",
    "melW",
    "attn_mask",
    "num_batches_tracked",
    "relative_position_index",
    "position_ids",
    "token_type_ids",
)


def fill_array(name, shape):
    """numpy float32 value for an official state-dict key, or None if it is left alone."""
    if any(s in name for s in SKIP_SUB):
        return None
    shape = tuple(int(s) for s in shape)
    if len(shape) == 0:
        return None
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    z = rng.standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "running_mean":
        v = 0.1 * z
    elif last == "running_var":
        v = 1.0 + 0.1 * np.abs(z)
    elif len(shape) >= 2:
        v = z / np.sqrt(float(np.prod(shape[1:])))
    elif last.endswith("weight"):
        v = 1.0 + 0.1 * z
    else:
        v = 0.1 * z
    return v.astype(np.float32)


def fill_state_dict(module):
    sd = module.state_dict()
    n = 0
    with torch.no_grad():
        for name in sorted(sd):
            t = sd[name]
            if not torch.is_floating_point(t):
                continue
            v = fill_array(name, t.shape)
            if v is None:
                continue
            t.copy_(torch.from_numpy(v).to(t.dtype))
            n += 1
    return n


def sine_mix(n, sr, seed=0, k=5):
    """Deterministic test audio: k sines + noise, float32 in about [-0.6, 0.6]."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / sr
    f = rng.uniform(80, sr / 4, k)
    a = rng.uniform(0.02, 0.1, k)
    p = rng.uniform(0, 2 * np.pi, k)
    x = sum(a[i] * np.sin(2 * np.pi * f[i] * t + p[i]) for i in range(k))
    x = x + 0.01 * rng.standard_normal(n)
    return x.astype(np.float32)


def dump_keys(sd, path, extra=None):
    import json

    d = {"keys": [[k, list(v.shape), str(v.dtype).replace("torch.", "")] for k, v in sd.items()]}
    if extra:
        d.update(extra)
    with open(path, "w") as f:
        json.dump(d, f, indent=0)
