"""Modelled cycles of executed arm64 code, by LLVM's scheduling models, and milliseconds of boards estimated from them.

Counts nothing itself: what ran comes from `compile.bench`.
"""
