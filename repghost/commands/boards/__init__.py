"""Commands that talk to boards over ssh, and doctor; how a board is spoken to belongs to `compile.deploy`."""
