"""The values between the stages of compilation: graphs, float programs, memory plans, TIR, compiled networks."""
