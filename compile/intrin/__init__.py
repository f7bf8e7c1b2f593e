"""Instruction sets: what a core does in one instruction, one file each. Schedules ask, they never branch on names."""

from compile.intrin.base import InstructionSet

__all__ = ["InstructionSet"]
