"""Settings of the whole suite: Hypothesis without wall-clock limits, since machines differ and are shared."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("minihs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("minihs")
