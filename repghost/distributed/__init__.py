"""Training processes: their ranks, how they meet, and what they exchange."""
