"""How many faults a session has caused and what became of them; `conftest.py` prints it at the end."""

from __future__ import annotations

import os
from collections import Counter

ROUNDS = int(os.environ.get("HEARONCE_FAULT_ROUNDS", "1"))
"""Multiplies the number of faults of every test; 1 keeps the suite under a minute."""

counts: Counter[str] = Counter()
