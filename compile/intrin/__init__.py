"""Instruction sets: what one core can do in one instruction, one file each. Schedules ask, they never branch on names."""

from compile.intrin.base import InstructionSet

__all__ = ["InstructionSet"]
