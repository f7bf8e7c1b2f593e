"""Running and measuring bundles on this machine or under emulation."""
