"""How fast encoders are, end to end, beside the model alone and the originals: `python -m benchmarks.encoders`."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `pipeline.monitor.device` does, before torch is imported
