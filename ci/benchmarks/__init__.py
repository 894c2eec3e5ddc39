"""Benchmarks: what vipdrill promises to be fast at, each figure beside a floor or peer of the same run.

`ci/bench` runs them (docs/performance.md says what they mean).  Every group is measured by a process
of its own, most of them inside a bubble, so that no group pays for what another one left behind.
"""
