"""What this machine or a board has and lacks. Looks, and changes nothing."""
