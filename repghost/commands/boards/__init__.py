"""Commands that talk to boards, and doctor."""
